//! Fuel slices, and per-thread fuel accounting.
//!
//! Compiled code adds to `VMStoreContext::fuel_consumed`, which starts at minus the injected
//! amount, and calls `out_of_gas` when it is no longer negative. A dispatch injects the least
//! of what the slice, the thread's limits and the store's budget have left. The rest stays in
//! `fuel_reserve`, so `get_fuel` is always right.
//!
//! A thread has used the growth of the counter since it was last set, plus what host
//! functions have charged. So every place that sets the counter (a dispatch, a host function
//! that calls `set_fuel`, the end of a run) goes through
//! [`fuel_interval`](StoreOpaque::fuel_interval), which counts first. That makes the count
//! exact: an operation that overruns its slice is charged to the thread that ran it.
//!
//! A bulk operation calls `bulk_out_of_gas` with its cost if the injected fuel is too little:
//! beforehand, or afterwards if it may fail. An operation not done costs nothing. The
//! thread's own limits come first: its group and store pay for no more than they allow.
//!
//! Compiled code may have the counter in a register. At `out_of_gas`, host functions and some
//! libcalls it does not: it stores the counter before the call, and loads it afterwards. There a
//! suspended thread's counter is in the store, and the rest of its fuel can go to others. A
//! thread suspended anywhere else will overwrite the store's counter with its register's. So its
//! counter stays with it: it is [held](StoreOpaque::suspend_fuel) while the thread is off the
//! CPU, and back in the store when it resumes. Meanwhile neither the store's `get_fuel` nor what
//! its group has left includes that fuel, which is at most a slice of fuel or [`HELD`].
//!
//! Where slices are fuel, time only ends or pauses a thread. So a schedule is the same
//! however often the ends of runs cut it into pieces. When time is up the timer's OS thread
//! raises the thread's attention, which is checked on return from the host and when the
//! thread's fuel is used up. A paused thread resumes with the rest of its slice.
//!
//! An engine whose embedder did not ask for fuel has no budget: its stores start with plenty,
//! and get more when it is used up.

use super::attention::Attention;
use super::epoch_timer::Slot;
use crate::Trap;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::slice::{Preemption, Slice};
use crate::runtime::preempt::suspend::{self, Leave, Suspension, preemptive_yield};
use crate::runtime::vm::VMStore;
use crate::store::StoreOpaque;
use core::num::NonZeroU64;
use std::sync::Arc;

/// How much fuel a thread is given at once where slices are time, and so how much of the
/// budget a suspended one may hold: its share of half of what is left, within these bounds.
/// So threads can find the budget used up while others hold some of it only when it is nearly
/// used up.
const HELD: core::ops::RangeInclusive<u64> = 1_000..=1_000_000;

#[derive(Default)]
pub(crate) struct FuelState {
    /// Whether the embedder has set a budget.
    budget: bool,
    /// When to check the clock, where slices are fuel. Present during a run, once it is
    /// needed.
    clock: Option<Arc<Slot>>,
    /// When the run should end or pause, on the monotonic clock in nanoseconds.
    run_end: u64,
}

impl StoreOpaque {
    fn slices_are_fuel(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Fuel)
    }

    /// A run begins, which should end or pause at `end`.
    pub(in crate::runtime::preempt) fn start_fuel(&mut self, end: Option<Moment>) {
        if self.slices_are_fuel()
            && let Some(threads) = self.preempt_mut()
        {
            threads.fuel.run_end = end.map_or(NEVER, Moment::as_nanos);
        }
    }

    /// The run that `start_fuel` began is over.
    pub(in crate::runtime::preempt) fn stop_fuel(&mut self) {
        if !self.slices_are_fuel() {
            return;
        }
        let Some(threads) = self.preempt_mut() else {
            return;
        };
        threads.fuel.run_end = NEVER;
        if let Some(clock) = threads.fuel.clock.take() {
            self.engine().epoch_timer().unregister(&clock);
        }
    }

    /// The running thread starts or resumes: arranges for a timely check of the clock.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create the timer's thread.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn arm_fuel_clock(&mut self) -> Result<()> {
        let end = self.fuel_clock_end();
        if end == NEVER {
            return Ok(());
        }
        self.arm_fuel_clock_at(end)
    }

    /// When the running thread must be paused.
    #[inline(always)]
    fn fuel_clock_end(&self) -> u64 {
        match self.preempt() {
            Some(threads) if threads.preemption == Preemption::Fuel => {
                let limit = threads.running().map_or(NEVER, |running| running.limit_end);
                limit.min(threads.fuel.run_end)
            }
            _ => NEVER,
        }
    }

    #[inline(never)]
    fn arm_fuel_clock_at(&mut self, end: u64) -> Result<()> {
        let timer = self.engine().epoch_timer();
        let clock = match self
            .preempt()
            .and_then(|threads| threads.fuel.clock.clone())
        {
            Some(clock) => clock,
            None => {
                let clock = timer.register(Attention::of(self), false)?;
                if let Some(threads) = self.preempt_mut() {
                    threads.fuel.clock = Some(clock.clone());
                }
                clock
            }
        };
        let timer = self.engine().epoch_timer();
        timer.arm_by(&clock, end)
    }

    /// Whether the running thread must be paused now.
    #[inline(never)]
    fn is_pause_due(&mut self) -> Result<bool> {
        let Some(threads) = self.preempt() else {
            return Ok(false);
        };
        if threads.remote.has_requests() {
            return Ok(true);
        }
        let Some(clock) = &threads.fuel.clock else {
            return Ok(false);
        };
        if !clock.has_fired() {
            return Ok(false);
        }
        if self.fuel_clock_end() <= Moment::now().as_nanos() {
            return Ok(true);
        }
        // It has fired for another thread.
        self.arm_fuel_clock()?;
        Ok(false)
    }

    /// Gives the thread about to run the fuel that it held, or else injects fuel for one
    /// slice.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn resume_fuel(&mut self) {
        if !self.engine().tunables().consume_fuel {
            return;
        }
        self.start_attention();
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

    /// The running thread leaves the CPU: charges it for what it used. Returns the counter if
    /// compiled code may have that in a register.
    #[inline]
    pub(in crate::runtime::preempt) fn suspend_fuel(&mut self) -> Option<i64> {
        self.count_thread_fuel();
        if !self.running_thread()?.fuel_in_register {
            return None;
        }
        let counter = self.vm_store_context_mut().fuel_consumed.get_mut();
        Some(core::mem::take(counter))
    }

    /// Injects unlimited fuel, for a store without a budget.
    pub(crate) fn inject_endless_fuel(&mut self) {
        self.inject_fuel(self.fuel_yield_interval, u64::MAX);
    }

    /// Returns all injected fuel to the reserve.
    fn fold_fuel(&mut self) {
        self.fuel_reserve = self.fuel_left();
        *self.vm_store_context_mut().fuel_consumed.get_mut() = 0;
    }

    /// Injects fuel for the rest of the running thread's slice, or for another slice if that
    /// one ended where the thread could not be suspended.
    fn arm_fuel(&mut self) {
        let fuel = self.fuel_left();
        self.count_thread_fuel();
        let interval = self.slice_interval(fuel);
        self.inject_fuel(interval, fuel);
    }

    /// Makes the next check end the running thread's slice, if it rereads the counter first.
    pub(in crate::runtime::preempt) fn end_fuel_slice(&mut self) {
        if self.engine().tunables().consume_fuel {
            self.count_thread_fuel();
            self.fold_fuel();
            self.start_thread_fuel();
        }
    }

    /// Whether the running thread has used up its slice, if that is fuel.
    pub(in crate::runtime::preempt) fn fuel_slice_is_over(&self) -> bool {
        self.running_thread()
            .is_some_and(|running| running.fuel_of_slice_left() == Some(0))
    }

    /// Gives the store's fuel back to plain calls after a run.
    pub(in crate::runtime::preempt) fn disarm_fuel(&mut self) {
        if self.engine().tunables().consume_fuel {
            let fuel = self.fuel_left();
            self.inject_fuel(self.fuel_yield_interval, fuel);
        }
    }

    /// Charges the running thread for what was used since the counter was set, and records
    /// the counter.
    pub(in crate::runtime::preempt) fn count_thread_fuel(&mut self) {
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        if let Some(running) = self.running_thread_mut() {
            running.count_fuel(counter);
        }
    }

    /// Records the current counter: earlier use is not the running thread's.
    fn start_thread_fuel(&mut self) {
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        if let Some(running) = self.running_thread_mut() {
            running.fuel_armed = counter;
        }
    }

    /// How much of `fuel`, the store's new amount as set by the embedder, may be injected at
    /// once. If it is less than before, the difference is charged to the running thread.
    pub(crate) fn fuel_interval(&mut self, fuel: u64) -> Option<NonZeroU64> {
        let had_budget = self.has_fuel_budget();
        self.take_note_of_budget();
        if self.running_thread().is_none() {
            return self.fuel_yield_interval;
        }
        self.count_thread_fuel();
        let charged = match had_budget {
            true => self.fuel_left().saturating_sub(fuel),
            false => 0,
        };
        if let Some(running) = self.running_thread_mut() {
            running.charge_fuel(charged);
        }
        let interval = self.slice_interval(fuel);
        if let Some(running) = self.running_thread_mut() {
            running.fuel_armed = counter_after(interval, fuel);
        }
        // It may have reached its limit.
        self.raise_attention();
        interval
    }

    /// The embedder has set the store's fuel. If slices needed no budget before, the store
    /// has one from now on.
    fn take_note_of_budget(&mut self) {
        if self.slices_are_fuel()
            && !self.engine().config().fuel_is_requested()
            && let Ok(threads) = self.preemptive_threads()
        {
            threads.fuel.budget = true;
        }
    }

    /// Whether a guest traps when the store's fuel is used up.
    fn has_fuel_budget(&self) -> bool {
        self.engine().config().fuel_is_requested()
            || !self.slices_are_fuel()
            || self.preempt().is_some_and(|threads| threads.fuel.budget)
    }

    /// How much of `fuel`, the amount left, the running thread is given at once.
    fn slice_interval(&self, fuel: u64) -> Option<NonZeroU64> {
        let Some(running) = self.running_thread() else {
            return self.fuel_yield_interval;
        };
        // What is left until the thread's limits need checking. If a limit is reached in a
        // host function's guest, the thread runs on until that function returns.
        let left = |allowed: Option<u64>| {
            let left = allowed?.checked_sub(running.fuel_consumed)?;
            NonZeroU64::new(left)
        };
        let most = match running.slice {
            Slice::Fuel(slice) => {
                let left = running.fuel_of_slice_left().and_then(NonZeroU64::new);
                left.or(NonZeroU64::new(slice))?
            }
            Slice::Time(_) => {
                let threads = self.preempt().map_or(1, |threads| threads.len());
                let threads = u64::try_from(threads).unwrap_or(u64::MAX).max(1);
                let share = |fuel: u64| {
                    let share = (fuel / 2 / threads).clamp(*HELD.start(), *HELD.end());
                    NonZeroU64::new(share).unwrap_or(NonZeroU64::MIN)
                };
                let of_group = left(running.allowance.group_fuel);
                let of_group = of_group.map_or(NonZeroU64::MAX, |left| share(left.get()));
                let yields = self.fuel_yield_interval.unwrap_or(NonZeroU64::MAX);
                share(fuel).min(of_group).min(yields)
            }
        };
        Some(left(running.allowance.fuel).map_or(most, |left| left.min(most)))
    }

    #[inline]
    fn fuel_left(&self) -> u64 {
        self.get_fuel().unwrap_or(0)
    }

    /// What the running thread's limits leave.
    fn limit_left(&self) -> u64 {
        let limit = self.preempt().and_then(|threads| threads.fuel_limit_left());
        limit.unwrap_or(u64::MAX)
    }

    /// Injects at most `interval` of `fuel`, and keeps the rest in reserve.
    fn inject_fuel(&mut self, interval: Option<NonZeroU64>, fuel: u64) {
        let counter = counter_after(interval, fuel);
        self.fuel_reserve = fuel - counter.unsigned_abs();
        *self.vm_store_context_mut().fuel_consumed.get_mut() = counter;
        self.start_thread_fuel();
    }

    /// Resets attention, except for requests that came before.
    #[inline]
    pub(in crate::runtime::preempt) fn start_attention(&mut self) {
        if Attention::of(self).waits_for_fuel() {
            return;
        }
        self.rest_attention();
        if self
            .preempt()
            .is_some_and(|threads| threads.remote.has_requests())
        {
            self.raise_attention();
        }
    }

    /// Refills the store's fuel, which is used up.
    ///
    /// # Errors
    ///
    /// If it has a budget.
    #[cold]
    fn refill_fuel(&mut self) -> Result<()> {
        ensure!(!self.has_fuel_budget(), Trap::OutOfFuel);
        self.fuel_reserve = u64::MAX;
        *self.vm_store_context_mut().fuel_consumed.get_mut() = 0;
        self.start_thread_fuel();
        Ok(())
    }

    /// Whether the running thread must leave the CPU, because of what it has used or, where
    /// slices are fuel, of the time.
    ///
    /// If not, and compiled code will `reload` the counter, the thread is given fuel to go on
    /// with. Without `reload` the counter must not be set here, as compiled code would
    /// overwrite it: the thread gets fuel at its next check.
    ///
    /// # Errors
    ///
    /// With `reload`, if the store has no fuel left.
    #[inline(always)]
    pub(in crate::runtime::preempt) fn fuel_due(&mut self, reload: bool) -> Result<Option<Leave>> {
        if !self.engine().tunables().consume_fuel {
            return Ok(None);
        }
        let counter = *self.vm_store_context_mut().fuel_consumed.get_mut();
        let is_spent = self.running_thread_mut().is_some_and(|running| {
            running.count_fuel(counter);
            running.fuel_is_spent()
        });
        if reload && self.fuel_left() == 0 {
            self.refill_fuel()?;
        }
        if is_spent {
            return Ok(Some(Leave::SliceOver));
        }
        if self.slices_are_fuel() && self.is_pause_due()? {
            return Ok(Some(Leave::Paused));
        }
        if reload && *self.vm_store_context_mut().fuel_consumed.get_mut() >= 0 {
            self.arm_fuel();
        }
        Ok(None)
    }
}

/// `fuel_consumed` after injecting at most `interval` of `fuel`.
fn counter_after(interval: Option<NonZeroU64>, fuel: u64) -> i64 {
    let injected = fuel.min(interval.unwrap_or(NonZeroU64::MAX).get());
    -i64::try_from(injected).unwrap_or(i64::MAX)
}

/// The guest-thread part of the `out_of_gas` libcall. Returns whether a guest thread is
/// running; if so, it has new fuel.
#[inline]
pub(crate) fn out_of_gas(store: &mut dyn VMStore) -> Result<bool> {
    let opaque = store.store_opaque_mut();
    if opaque.running_thread().is_none() {
        return Ok(false);
    }
    let mut due = opaque.fuel_due(true)?;
    if due.is_none() && opaque.fuel_yield_interval.is_some() {
        due = Some(Leave::Yielded);
    }
    let Some(why) = due else {
        return Ok(true);
    };
    if let Some(context) = suspend::take(opaque) {
        // The dispatch that ends this has injected the next slice.
        let why = Suspension {
            why,
            fuel_in_register: false,
        };
        preemptive_yield(store, context, why)?;
        return Ok(true);
    }
    // A guest called by a host function: it must not be switched away from (I1).
    let over = opaque
        .preempt()
        .and_then(|threads| threads.beyond_fuel_limit(0));
    if let Some(over) = over {
        return Err(over.into());
    }
    opaque.arm_fuel();
    opaque.raise_attention();
    Ok(true)
}

/// The guest-thread part of the `bulk_out_of_gas` libcall. Charges the running thread for an
/// operation of `cost`, and returns `false` if there is none.
///
/// # Errors
///
/// If the thread or the store has less than that left. The operation must not be done then;
/// if it was `done` already, all that is left is charged.
pub(crate) fn charge_bulk(store: &mut StoreOpaque, cost: u64, done: bool) -> Result<bool> {
    if store.running_thread().is_none() {
        return Ok(false);
    }
    if !done {
        check_bulk(store, cost)?;
    }
    store.count_thread_fuel();
    store.consume_fuel(cost.min(store.limit_left()));
    store.count_thread_fuel();
    Ok(true)
}

/// The guest-thread part of the `bulk_fuel_check` libcall. Whether the running thread has the
/// fuel for an operation of `cost`; `false` if there is no such thread.
///
/// # Errors
///
/// If the thread or the store has less than that left.
pub(crate) fn check_bulk(store: &mut StoreOpaque, cost: u64) -> Result<bool> {
    if store.running_thread().is_none() {
        return Ok(false);
    }
    store.count_thread_fuel();
    if cost >= store.limit_left() {
        let over = store
            .preempt()
            .and_then(|threads| threads.beyond_fuel_limit(cost));
        if let Some(over) = over {
            return Err(over.into());
        }
        bail!(Trap::OutOfFuel);
    }
    ensure!(
        cost < store.fuel_left() || !store.has_fuel_budget(),
        Trap::OutOfFuel
    );
    Ok(true)
}
