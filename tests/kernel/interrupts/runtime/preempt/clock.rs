//! The machine's clock.

use super::machine;

pub const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Moment {
        Moment(machine::now())
    }

    pub fn as_nanos(self) -> u64 {
        self.0
    }
}
