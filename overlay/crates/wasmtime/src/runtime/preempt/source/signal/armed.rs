//! When an OS thread's timer will send its signal, as far as its runs and its handler know.
//!
//! Nearly every dispatch postpones the end of a slice, which takes no system call: the handler
//! sets a timer again that has fired too early. Neither does the end of a run stop the timer. So it
//! may be set for an earlier time than anybody wants, and never for a later one. `Watch::arm` sees to that where the handler
//! comes in between.

use super::os_timer;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::sync::thread_local;
use core::cell::Cell;

thread_local! {
    // The handler reads this: no destructor, and a constant initializer.
    static ARMED: Cell<u64> = const { Cell::new(NEVER) };
}

/// Makes sure that this OS thread has a timer, once it can receive the signal. One that has come
/// before that may have been another handler's.
pub(in crate::runtime::preempt) fn ensure_timer() -> Result<()> {
    if os_timer::ensure()? || is_due() {
        ARMED.set(NEVER);
    }
    Ok(())
}

/// This OS thread has forked this process, where its timer does not exist: makes another, not
/// set. If the OS refuses, the next slice says so.
pub(super) fn forked() {
    if os_timer::forget() {
        let _ = ensure_timer();
    }
}

/// Makes the signal come at `time` or earlier, which the handler sorts out.
pub(in crate::runtime::preempt) fn arm_by(time: u64) {
    if time < ARMED.get() {
        set(time);
    }
}

/// Whether the signal comes at `time` or earlier.
pub(super) fn is_armed_by(time: u64) -> bool {
    ARMED.get() <= time
}

/// Whether the signal should have come by now.
pub(super) fn is_due() -> bool {
    ARMED.get() <= Moment::now().as_nanos()
}

/// The signal has come: the timer is no longer set.
pub(super) fn fired() {
    ARMED.set(NEVER);
}

fn set(time: u64) {
    // In this order, as the signal may come in between: if the timer is set and `ARMED` is
    // not, the handler finds nothing to do. A setting made by the handler in between is lost:
    // `Watch::arm` sets it again.
    ARMED.set(time);
    os_timer::set(time);
}
