//! A clock for timed waits that follows fuel, so that a run does not depend on how fast the
//! machine is.

use super::clock::Moment;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// A clock that follows what guest threads do: see
/// [`WasmThreads::set_virtual_clock`](crate::preempt::WasmThreads::set_virtual_clock). Clones
/// are the same clock.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// A clock that shows zero.
    pub fn new() -> VirtualClock {
        VirtualClock::default()
    }

    /// What it shows.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The clock that timed waits go by: the OS's, unless there is a virtual one.
#[derive(Default)]
pub(super) struct WaitClock {
    shown: Option<VirtualClock>,
    /// When it was set or last skipped to a time: that time in nanoseconds, and the fuel used then.
    time: u64,
    fuel: u64,
}

impl WaitClock {
    /// A virtual one that goes on from what `clock` shows. `fuel` was used so far.
    pub(super) fn following(clock: VirtualClock, fuel: u64) -> WaitClock {
        WaitClock {
            time: clock.0.load(Ordering::Relaxed),
            fuel,
            shown: Some(clock),
        }
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.shown.is_some()
    }

    /// What a virtual one shows when `fuel` was used.
    pub(super) fn now(&self, fuel: u64) -> Option<Moment> {
        let clock = self.shown.as_ref()?;
        let shown = self.at(fuel);
        clock.0.store(shown, Ordering::Relaxed);
        Some(Moment::from_nanos(shown))
    }

    /// Has a virtual one skip to `time`, unless it is there.
    pub(super) fn skip_to(&mut self, time: Moment, fuel: u64) {
        if time.as_nanos() > self.at(fuel) {
            (self.time, self.fuel) = (time.as_nanos(), fuel);
        }
    }

    fn at(&self, fuel: u64) -> u64 {
        self.time.saturating_add(fuel.saturating_sub(self.fuel))
    }
}
