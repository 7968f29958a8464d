//! The clock that timed waits go by.

use super::PreemptiveThreads;
use crate::runtime::preempt::clock::Moment;
use crate::runtime::preempt::virtual_clock::{VirtualClock, WaitClock};
use crate::store::StoreOpaque;

impl PreemptiveThreads {
    pub(in crate::runtime::preempt) fn set_virtual_clock(&mut self, clock: VirtualClock) {
        self.wait_clock = WaitClock::following(clock, self.fuel_used());
        self.refill();
    }

    pub(in crate::runtime::preempt) fn clock_is_virtual(&self) -> bool {
        self.wait_clock.is_virtual()
    }

    /// What the clock shows, if the OS's shows `now`.
    #[inline]
    pub(super) fn now_for_waits(&self, now: Moment) -> Moment {
        match self.wait_clock.is_virtual() {
            true => self.wait_clock.now(self.fuel_used()).unwrap_or(now),
            false => now,
        }
    }

    /// No thread is ready: has a virtual clock skip to the time at which the first one wakes.
    /// Returns whether it does.
    pub(in crate::runtime::preempt) fn skip_to_next_alarm(&mut self) -> bool {
        if !self.wait_clock.is_virtual() {
            return false;
        }
        let Some(alarm) = self.next_alarm_unless_suspended() else {
            return false;
        };
        self.skip_to(alarm);
        true
    }

    fn skip_to(&mut self, time: Moment) {
        let fuel = self.fuel_used();
        self.wait_clock.skip_to(time, fuel);
    }
}

impl StoreOpaque {
    /// What the clock shows.
    pub(in crate::runtime::preempt) fn now_for_waits(&mut self) -> Moment {
        self.virtual_now().unwrap_or_else(Moment::now)
    }

    /// Somebody has waited until `time` without the clock, which skips to it if it is virtual.
    pub(in crate::runtime::preempt) fn skip_for_waits(&mut self, time: Moment) {
        if let Some(threads) = self.preempt_mut() {
            threads.skip_to(time);
        }
    }

    /// What the clock shows, if it is virtual.
    pub(in crate::runtime::preempt) fn virtual_now(&mut self) -> Option<Moment> {
        if !self.preempt()?.wait_clock.is_virtual() {
            return None;
        }
        self.count_thread_fuel();
        let threads = self.preempt()?;
        threads.wait_clock.now(threads.fuel_used())
    }
}
