//! The budget of a poll.
//!
//! A poll's budget depends on how many such futures in the process are busy, that is, have
//! something to do. The executor gets round to each of them, and to all its other work,
//! within about [`LATENCY`]. CFS divides its latency among runnable tasks the same way, down
//! to a minimum granularity (Molnar, Linux 2.6.23).

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

/// The time in which every busy future on one OS thread gets one poll.
const LATENCY: Duration = Duration::from_millis(10);

/// The shortest budget of a poll.
const GRANULARITY: Duration = Duration::from_micros(100);

/// How many futures are busy.
static BUSY: AtomicU32 = AtomicU32::new(0);

/// Counts one busy future. The store owns it, because the future may be leaked.
pub(super) struct Busy(());

impl Busy {
    pub(super) fn new() -> Busy {
        BUSY.fetch_add(1, Ordering::Relaxed);
        Busy(())
    }

    /// How long each of them may run.
    pub(super) fn budget() -> Duration {
        (LATENCY / BUSY.load(Ordering::Relaxed).max(1)).max(GRANULARITY)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because there is one count.
    #[test]
    fn busy_futures_divide_the_latency_and_the_count_of_them_is_exact() {
        let all: Vec<Busy> = (0..4).map(|_| Busy::new()).collect();
        assert_eq!(Busy::budget(), LATENCY / 4);
        let many: Vec<Busy> = (0..10_000).map(|_| Busy::new()).collect();
        assert_eq!(Busy::budget(), GRANULARITY);
        drop((all, many));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| drop(Busy::new())));
            }
        });
        assert_eq!(Busy::budget(), LATENCY);
        let _one = Busy::new();
        assert_eq!(Busy::budget(), LATENCY);
    }
}
