//! Stands in for the monotonic clock: it stands still, unless a model says otherwise.

use std::cell::Cell;
use std::time::Duration;

pub const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

const START: u64 = 1_000;

std::thread_local! {
    // All of loom's threads are on one OS thread.
    static NOW: Cell<u64> = const { Cell::new(START) };
    static PASSES: Cell<bool> = const { Cell::new(false) };
}

/// Starts the clock anew, which `passes` when an OS thread sleeps.
pub fn start(passes: bool) {
    NOW.set(START);
    PASSES.set(passes);
}

/// An OS thread sleeps. Returns whether that took `time`.
pub fn pass(time: Duration) -> bool {
    if PASSES.get() {
        NOW.set(NOW.get() + time.as_nanos() as u64);
    }
    PASSES.get()
}

impl Moment {
    pub fn now() -> Moment {
        Moment(NOW.get())
    }

    pub fn as_nanos(self) -> u64 {
        self.0
    }

    pub fn left(self, now: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }
}
