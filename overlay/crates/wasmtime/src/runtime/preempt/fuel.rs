//! Slices in fuel, and fuel counted per thread.
//!
//! Compiled code adds to `VMStoreContext::fuel_consumed`, which starts at minus
//! what was injected, and calls `out_of_gas` when it is no longer negative. A
//! dispatch injects one slice, or what is left of the store's budget if that is
//! less; the rest stays in `fuel_reserve`, so `get_fuel` is right at all times.
//!
//! What a thread has used is the growth of the counter since it was last set.
//! So every place that sets it (a dispatch, a host function that calls
//! `set_fuel`, the end of a run) goes through
//! [`fuel_interval`](StoreOpaque::fuel_interval), which counts first. That makes
//! the count exact: an operation that runs over the end of its slice is counted
//! for the thread that ran it.
//!
//! `out_of_gas` is where compiled code has written the counter back and reads it
//! again. A thread that is suspended anywhere else may have it in a register, and
//! will write that back when it goes on. So there the counter is the thread's own:
//! it is [held](StoreOpaque::suspend_fuel) while the thread is off the CPU, and
//! given back to it. What it stands for, which is at most a slice of fuel or
//! [`HELD`], is not in the store's `get_fuel` meanwhile.

use super::Suspension;
use super::blocking;
use super::owed::Reason;
use super::slice::{Preemption, Slice};
use crate::Trap;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::store::StoreOpaque;
use core::num::NonZeroU64;

/// How much a thread is given at once where slices are time, and so how much of
/// the budget a suspended one may hold: its share of half of what is left, within
/// these bounds. Thus threads find the budget used up while others hold some of it
/// only when it nearly is.
const HELD: core::ops::RangeInclusive<u64> = 1_000..=1_000_000;

impl StoreOpaque {
    /// Gives the thread that is about to run the fuel that it held, or else
    /// injects fuel for one slice.
    pub(super) fn resume_fuel(&mut self) {
        if !self.engine().tunables().consume_fuel {
            return;
        }
        let Some(held) = self.running_thread().and_then(|running| running.fuel_held) else {
            let fuel = self.fuel_left();
            let interval = self.slice_interval(fuel);
            self.inject_fuel(interval, fuel);
            return;
        };
        self.fold_fuel();
        *self.vm_store_context_mut().fuel_consumed.get_mut() = held;
        self.start_thread_fuel();
    }

    /// The running thread goes off the CPU: charges it for what it used. Returns the
    /// counter if compiled code may have that in a register.
    pub(super) fn suspend_fuel(&mut self) -> Option<i64> {
        self.count_thread_fuel();
        if !self.running_thread()?.fuel_in_register {
            return None;
        }
        let counter = self.vm_store_context_mut().fuel_consumed.get_mut();
        Some(core::mem::take(counter))
    }

    /// Puts all that is injected back into the reserve.
    fn fold_fuel(&mut self) {
        self.fuel_reserve = self.fuel_left();
        *self.vm_store_context_mut().fuel_consumed.get_mut() = 0;
    }

    /// Injects fuel for one slice of the running thread.
    pub(super) fn arm_fuel(&mut self) {
        if self.engine().tunables().consume_fuel {
            let fuel = self.fuel_left();
            self.count_thread_fuel();
            let interval = self.slice_interval(fuel);
            self.inject_fuel(interval, fuel);
        }
    }

    /// Makes the next check end the running thread's slice.
    pub(super) fn end_fuel_slice(&mut self) {
        if self.slices_are_fuel() {
            self.count_thread_fuel();
            self.fold_fuel();
            self.start_thread_fuel();
        }
    }

    /// Gives the store's fuel back to plain calls after a run.
    pub(super) fn disarm_fuel(&mut self) {
        if self.engine().tunables().consume_fuel {
            let fuel = self.fuel_left();
            self.inject_fuel(self.fuel_yield_interval, fuel);
        }
    }

    /// Charges the running thread for what was used since the counter was set,
    /// and takes note of the counter.
    pub(super) fn count_thread_fuel(&mut self) {
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        if let Some(running) = self.running_thread_mut() {
            let used = counter.saturating_sub(running.fuel_armed);
            running.fuel_consumed += u64::try_from(used).unwrap_or(0);
            running.fuel_armed = counter;
        }
    }

    /// Takes note of the counter as it is: what was used before is not the
    /// running thread's.
    fn start_thread_fuel(&mut self) {
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        if let Some(running) = self.running_thread_mut() {
            running.fuel_armed = counter;
        }
    }

    /// How much of `fuel`, which is about to become what the store has left, may
    /// be injected at once.
    pub(crate) fn fuel_interval(&mut self, fuel: u64) -> Option<NonZeroU64> {
        if self.running_thread().is_none() {
            return self.fuel_yield_interval;
        }
        self.count_thread_fuel();
        // What is left of the slice stays what is left of it.
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        let left = NonZeroU64::new(counter.min(-1).unsigned_abs());
        let interval = match self.slice_interval(fuel) {
            Some(slice) if self.slices_are_fuel() => left.map(|left| left.min(slice)),
            other => other,
        };
        if let Some(running) = self.running_thread_mut() {
            running.fuel_armed = counter_after(interval, fuel);
        }
        interval
    }

    fn slices_are_fuel(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Fuel)
    }

    /// How much of `fuel`, which is what is left, the running thread is given at once.
    fn slice_interval(&self, fuel: u64) -> Option<NonZeroU64> {
        // What is left until somebody has to look at the thread's limits. Where that
        // is over in a host function's guest, it goes on until it returns.
        let allowed = self.running_thread().and_then(|running| {
            let left = running.allowance.fuel?.checked_sub(running.fuel_consumed)?;
            NonZeroU64::new(left)
        });
        let allowed = |interval: NonZeroU64| allowed.map_or(interval, |a| a.min(interval));
        match self.running_thread().map(|running| running.slice) {
            Some(Slice::Fuel(fuel)) => NonZeroU64::new(fuel).map(allowed),
            Some(Slice::Time(_)) => {
                let threads = self.preempt().map_or(1, |threads| threads.len());
                let share = fuel / 2 / u64::try_from(threads).unwrap_or(u64::MAX).max(1);
                let share = NonZeroU64::new(share.clamp(*HELD.start(), *HELD.end()))?;
                let interval = self.fuel_yield_interval.map_or(share, |i| i.min(share));
                Some(allowed(interval))
            }
            None => self.fuel_yield_interval,
        }
    }

    fn fuel_left(&self) -> u64 {
        self.get_fuel().unwrap_or(0)
    }

    /// Injects at most `interval` of `fuel`, and keeps the rest in reserve.
    fn inject_fuel(&mut self, interval: Option<NonZeroU64>, fuel: u64) {
        let counter = counter_after(interval, fuel);
        self.fuel_reserve = fuel - counter.unsigned_abs();
        *self.vm_store_context_mut().fuel_consumed.get_mut() = counter;
        self.start_thread_fuel();
    }
}

/// `fuel_consumed` after at most `interval` of `fuel` was injected.
fn counter_after(interval: Option<NonZeroU64>, fuel: u64) -> i64 {
    let injected = fuel.min(interval.unwrap_or(NonZeroU64::MAX).get());
    -i64::try_from(injected).unwrap_or(i64::MAX)
}

/// The part of the `out_of_gas` libcall that is for guest threads. Returns
/// whether one is running, in which case it has been given new fuel.
#[inline]
pub(crate) fn out_of_gas(store: &mut dyn VMStore) -> Result<bool> {
    let opaque = store.store_opaque_mut();
    if opaque.running_thread().is_none() {
        return Ok(false);
    }
    if opaque.get_fuel()? == 0 {
        return Err(Trap::OutOfFuel.into());
    }
    opaque.count_thread_fuel();
    let spent = opaque
        .preempt()
        .is_some_and(|threads| threads.fuel_allowance_is_spent());
    let preempted = spent || opaque.slices_are_fuel();
    if preempted || opaque.fuel_yield_interval.is_some() {
        if let Some(context) = blocking::take(opaque) {
            // The dispatch that ends this has injected the next slice.
            let why = Suspension {
                preempted,
                fuel_in_register: false,
                park: None,
            };
            super::preemptive_yield(store, context, why)?;
            return Ok(true);
        }
    }
    let over = store.preempt().filter(|_| spent);
    if let Some(over) = over.and_then(|threads| threads.over_fuel_limit()) {
        if let Some(running) = store.running_thread_mut() {
            running.over = Some(Box::new(over));
        }
        return Err(over.into());
    }
    if preempted && let Some(running) = store.running_thread_mut() {
        running.owed.get_or_insert_with(Reason::new);
    }
    store.arm_fuel();
    Ok(true)
}
