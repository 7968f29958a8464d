//! The machine's timer.

use crate::prelude::*;
use crate::runtime::preempt::machine;

pub fn exists() -> bool {
    true
}

pub fn forget() -> bool {
    true
}

pub fn ensure() -> Result<bool> {
    Ok(machine::is_new())
}

pub fn set(time: u64) {
    machine::step();
    machine::set_timer(time);
}
