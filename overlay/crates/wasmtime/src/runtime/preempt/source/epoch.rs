//! Wall-clock slices, from epochs.
//!
//! Compiled code compares the engine's epoch with the store's deadline and calls `new_epoch`
//! when the deadline is reached. To end a slice, the timer (`epoch_timer.rs`) advances the
//! epoch, which every store of the engine can see. To preserve the epoch's meaning for
//! embedders, it is split in two:
//!
//! ```text
//!   epoch (what compiled code sees)  =  embedder's epoch  +  timer's ticks
//! ```
//!
//! A deadline set by an embedder is kept in the embedder's epoch. The deadline in compiled
//! code is that plus the ticks so far. Later ticks bring the epoch to it too early, each by
//! one, and nothing brings it there too late. `new_epoch` finds that the embedder's epoch has
//! not reached the embedder's deadline, and adds the ticks that have come.
//!
//! While a guest thread runs, the deadline is also the next tick, or the present epoch if the
//! store's slot has fired. If a tick was meant for another store, this store's slot has not
//! fired, and `new_epoch` moves the deadline again.
//!
//! No tick is lost: see [`EpochTimer::deadline`](super::epoch_timer::EpochTimer::deadline).

use super::attention::Attention;
use super::epoch_timer::{NO_DEADLINE, Slot};
use super::interrupt::Interrupt;
use crate::UpdateDeadline;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::slice::Preemption;
use crate::runtime::preempt::suspend::{self, Suspension, preemptive_yield};
use crate::runtime::preempt::time_deadline::handle::handle;
use crate::runtime::preempt::time_deadline::state::State;
use crate::runtime::vm::VMStore;
use crate::store::StoreOpaque;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct EpochState {
    /// Tells the timer what to do during a run.
    slot: Option<Arc<Slot>>,
    /// When the run ends, on the monotonic clock in nanoseconds.
    run_end: u64,
    /// Set if the running thread's slice ended where it could not be suspended: the delay
    /// before the next check after this one, in nanoseconds.
    overdue: Option<u64>,
}

/// How soon to check again, at the latest, on a thread whose slice ended where it could not
/// be suspended, in nanoseconds. Doubles each time.
const OVERDUE_RETRY: u64 = 10_000_000;

impl StoreOpaque {
    fn slices_are_epochs(&self) -> bool {
        self.engine().config().preemption == Some(Preemption::Epoch)
    }

    /// The embedder's deadline. `None` if it never set one and never asked for epochs.
    fn embedder_deadline(&self) -> Option<u64> {
        let asked_for = self.engine().config().epochs_are_requested();
        self.preempt
            .epoch_deadline
            .or(if asked_for { Some(0) } else { None })
    }

    /// The part of `set_epoch_deadline` for engines that may tick on their own. Returns whether
    /// this is one.
    pub(crate) fn set_embedder_epoch_deadline(&mut self, delta: u64) -> bool {
        if !self.slices_are_epochs() && !self.engine().config().epochs_are_requested() {
            return false;
        }
        let (epoch, ticks) = self.engine().epoch_timer().epoch_and_ticks();
        self.preempt.epoch_deadline = Some((epoch - ticks).saturating_add(delta));
        self.arm_epoch_deadline();
        true
    }

    /// In a new store, whose epochs only end slices: there is no deadline outside of runs.
    pub(crate) fn set_first_epoch_deadline(&mut self) {
        if self.slices_are_epochs() && self.embedder_deadline().is_none() {
            *self.vm_store_context_mut().epoch_deadline.get_mut() = NO_DEADLINE;
        }
    }

    /// Whether the embedder has asked for epochs but never set this store's deadline, which ends
    /// each guest at its first check.
    pub(in crate::runtime::preempt) fn lacks_epoch_deadline(&mut self) -> bool {
        self.engine().config().epochs_are_requested() && self.preempt.epoch_deadline.is_none()
    }

    /// Derives the deadline that compiled code sees.
    pub(in crate::runtime::preempt) fn arm_epoch_deadline(&mut self) {
        let timer = self.engine().epoch_timer();
        // Guest threads have no deadline in time.
        let time = self.preempt.time_deadline.as_deref();
        let has_ticked = || time.and_then(State::has_ticked);
        let deadline = if self.slices_are_epochs() && self.running_thread().is_some() {
            let is_over = || self.epoch_slice_is_over();
            timer.deadline(self.embedder_deadline(), Some(is_over))
        } else {
            let is_over = || has_ticked().unwrap_or(false);
            let ticks = has_ticked().is_some();
            timer.deadline(self.embedder_deadline(), ticks.then_some(is_over))
        };
        *self.vm_store_context_mut().epoch_deadline.get_mut() = deadline;
        self.override_epoch_deadline();
    }

    /// A run begins, which should end at `end`.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create the timer's thread.
    pub(in crate::runtime::preempt) fn start_epochs(&mut self, end: Option<Moment>) -> Result<()> {
        if !self.slices_are_epochs() {
            return Ok(());
        }
        let timer = self.engine().epoch_timer();
        let slot = timer.register(Attention::of(self), true)?;
        let interrupt = Interrupt::Epoch(timer.slice_ender(&slot));
        let run_end = end.map_or(NEVER, Moment::as_nanos);
        let threads = self.preemptive_threads()?;
        threads.remote.set_interrupt(interrupt);
        threads.epoch.slot = Some(slot);
        threads.epoch.run_end = run_end;
        Ok(())
    }

    /// The run that `start_epochs` began is over.
    pub(in crate::runtime::preempt) fn stop_epochs(&mut self) {
        let Some(threads) = self.preempt_mut() else {
            return;
        };
        if let Some(slot) = threads.epoch.slot.take() {
            threads.remote.set_interrupt(Interrupt::None);
            self.engine().epoch_timer().unregister(&slot);
            self.arm_epoch_deadline();
        }
    }

    /// The running thread starts a slice at `now`, or resumes after keeping the store.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create the timer's thread.
    pub(in crate::runtime::preempt) fn arm_epoch(&mut self, now: Moment) -> Result<()> {
        if !self.slices_are_epochs() {
            return Ok(());
        }
        if let Some(threads) = self.preempt_mut() {
            threads.epoch.overdue = None;
        }
        // The slot first: it may still say that the previous slice is over.
        let armed = self.arm_slot(now);
        self.arm_epoch_deadline();
        armed
    }

    /// Lets the running thread run on for a while although its slice is over.
    fn put_epoch_off(&mut self) {
        let timer = self.engine().epoch_timer();
        let epoch = timer.epoch();
        let overdue = self.preempt().and_then(|threads| threads.epoch.overdue);
        let retry = overdue.unwrap_or(OVERDUE_RETRY);
        if let Some(slot) = self
            .preempt()
            .and_then(|threads| threads.epoch.slot.as_ref())
        {
            // Fails only in a forked process without a timer, where the next slice says so.
            let _ = timer.arm(slot, Moment::now().as_nanos().saturating_add(retry));
        }
        if let Some(threads) = self.preempt_mut() {
            threads.epoch.overdue = Some(retry.saturating_mul(2));
        }
        let deadline = self.vm_store_context_mut().epoch_deadline.get_mut();
        *deadline = epoch.saturating_add(1).min(NO_DEADLINE);
    }

    /// Tells the timer when to tick next: at the end of the slice if another thread waits for
    /// the CPU, else only at the end of the run. If that is past `now`, ticks right here.
    fn arm_slot(&mut self, now: Moment) -> Result<()> {
        let Some(threads) = self.preempt() else {
            return Ok(());
        };
        let epoch = &threads.epoch;
        let Some(end) = threads.interrupt_at(epoch.run_end) else {
            return Ok(());
        };
        let Some(slot) = &epoch.slot else {
            return Ok(());
        };
        let timer = self.engine().epoch_timer();
        if end <= now.as_nanos() {
            timer.end_now(slot);
            return Ok(());
        }
        timer.arm_unless_ended(slot, end, || threads.remote.slice_end_requested())
    }

    /// A thread was spawned, perhaps next to one that had the CPU to itself.
    pub(in crate::runtime::preempt) fn preempt_alone_no_more(&mut self) {
        if self.running_thread().is_some() && !self.epoch_slice_is_over() {
            // As in `put_epoch_off`.
            let _ = self.arm_slot(Moment::now());
        }
    }

    /// Makes the next check end the running thread's slice.
    pub(in crate::runtime::preempt) fn end_epoch_slice(&mut self) {
        let epoch = self.engine().epoch_timer().epoch();
        let is_due = *self.vm_store_context_mut().epoch_deadline.get_mut() <= epoch;
        if self.slices_are_epochs() && !is_due {
            if let Some(slot) = self
                .preempt()
                .and_then(|threads| threads.epoch.slot.as_ref())
            {
                self.engine().epoch_timer().end_now(slot);
            }
            self.arm_epoch_deadline();
        }
    }

    /// Whether the running thread's slice-ending tick has come.
    pub(in crate::runtime::preempt) fn epoch_slice_is_over(&self) -> bool {
        self.preempt().is_some_and(|threads| {
            let epoch = &threads.epoch;
            let fired = epoch.slot.as_ref().is_some_and(|slot| slot.has_fired());
            fired || (epoch.overdue.is_some() && epoch.slot.is_some())
        })
    }
}

/// The part of the `new_epoch` libcall for guest threads, and for stores that share their
/// engine. Returns the next deadline, or `None` if the embedder's was reached.
#[inline]
pub(crate) fn new_epoch(store: &mut dyn VMStore) -> Result<Option<u64>> {
    handle(store)?;
    if let Some(deadline) = store.embedder_deadline() {
        let (epoch, ticks) = store.engine().epoch_timer().epoch_and_ticks();
        if epoch - ticks >= deadline {
            return Ok(None);
        }
    }

    if !store.slices_are_epochs() || !store.epoch_slice_is_over() {
        store.arm_epoch_deadline();
    } else if let Some(context) = suspend::take(store) {
        // The dispatch that ends this has armed the next slice.
        preemptive_yield(store, context, Suspension::PREEMPTED)?;
    } else {
        // A guest called by a host function must not be switched away from (I1): the end of
        // that host function does it.
        store.put_epoch_off();
        store.raise_attention();
    }
    Ok(Some(store.get_epoch_deadline()))
}

/// The part of the `new_epoch` libcall for [`UpdateDeadline::Yield`]: a guest thread yields
/// to its siblings. Returns the next deadline, or `None` if it is another update, or
/// this is not a guest thread's own code.
///
/// The deadline is set first. It belongs to the store, so the siblings would reach the old
/// one too.
pub(crate) fn yield_and_update(
    store: &mut dyn VMStore,
    update: &UpdateDeadline,
) -> Result<Option<u64>> {
    let &UpdateDeadline::Yield(delta) = update else {
        return Ok(None);
    };
    let Some(context) = suspend::take(store) else {
        return Ok(None);
    };
    store.set_epoch_deadline(delta);
    preemptive_yield(store, context, Suspension::YIELDED)?;
    Ok(Some(store.get_epoch_deadline()))
}
