//! The budget of a poll.
//!
//! How long a poll may take depends on how many such futures of the process have
//! something to do: the executor gets round to each of them, and to everything else that
//! it has to do, within about [`LATENCY`]. That is how CFS divides its latency among
//! runnable tasks, down to a minimum granularity (Molnar, Linux 2.6.23).

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

/// In which all futures with something to do, on one OS thread, get one poll.
const LATENCY: Duration = Duration::from_millis(10);

/// The shortest budget of a poll.
const GRANULARITY: Duration = Duration::from_micros(100);

/// How many futures have something to do.
static BUSY: AtomicU32 = AtomicU32::new(0);

/// Counts as one with something to do. Kept by the store: its future may be forgotten.
pub(super) struct Busy(());

impl Busy {
    pub(super) fn new() -> Busy {
        BUSY.fetch_add(1, Ordering::Relaxed);
        Busy(())
    }

    /// For how long one of them may run.
    pub(super) fn budget() -> Duration {
        (LATENCY / BUSY.load(Ordering::Relaxed).max(1)).max(GRANULARITY)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}
