//! A store's deadline in time, and what interrupts its guests then.

use super::{Behavior, TimeDeadline};
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER, nanos};
use crate::runtime::preempt::limits::thread_cpu_time;
use crate::runtime::preempt::source::attention::Attention;
use crate::runtime::preempt::source::epoch_timer::Slot;
use crate::runtime::vm::VMStore;
use crate::store::StoreOpaque;
use core::mem;
use core::ptr::NonNull;
use core::time::Duration;
use std::sync::Arc;

/// How soon a guest is looked at again that is about to reach its deadline in CPU time, in
/// nanoseconds.
const SHORTEST: u64 = 50_000;

/// A store's deadline in time, if one was ever set.
#[derive(Default)]
pub(crate) struct State {
    /// As it was set.
    deadline: Option<TimeDeadline>,
    /// When it is reached.
    end: End,
    /// Whether a call of the store is running on this OS thread.
    attached: bool,
    /// The engine's timer, while attached, if compiled code checks.
    slot: Option<Arc<Slot>>,
    /// Whether compiled code checks.
    checks: bool,
    /// Whether the timer is to be armed, and could not be.
    unarmed: bool,
    pub(super) behavior: Option<Behavior>,
}

#[derive(Clone, Copy, Default)]
enum End {
    #[default]
    Never,
    /// On the monotonic clock, in nanoseconds.
    At(u64),
    /// After so much more CPU time, in nanoseconds. While attached: since this reading of it.
    Used { left: u64, since: u64 },
}

fn cpu_now() -> u64 {
    thread_cpu_time().map_or(0, nanos)
}

impl State {
    fn set(&mut self, deadline: Option<TimeDeadline>) {
        self.deadline = deadline;
        self.end = match deadline {
            None => End::Never,
            Some(TimeDeadline::Wall(time)) => {
                End::At(Moment::now().saturating_add(time).as_nanos())
            }
            Some(TimeDeadline::Cpu(time)) => End::Used {
                left: nanos(time),
                since: cpu_now(),
            },
        };
    }

    pub(super) fn deadline(&self) -> Option<TimeDeadline> {
        self.deadline
    }

    pub(super) fn left(&self) -> Option<TimeDeadline> {
        match self.end {
            End::Never => None,
            End::At(end) => Some(TimeDeadline::Wall(
                Moment::from_nanos(end).left(Moment::now()),
            )),
            End::Used { .. } => Some(TimeDeadline::Cpu(Duration::from_nanos(self.cpu_left()))),
        }
    }

    fn cpu_left(&self) -> u64 {
        match self.end {
            End::Used { left, since } if self.attached => {
                // The clock starts again in a forked process.
                let now = cpu_now();
                left.saturating_sub(now.checked_sub(since).unwrap_or(now))
            }
            End::Used { left, .. } => left,
            End::Never | End::At(_) => NEVER,
        }
    }

    /// Begins, or ends, to count CPU time.
    fn count(&mut self) {
        let now_left = self.cpu_left();
        if let End::Used { left, since } = &mut self.end {
            *left = now_left;
            *since = cpu_now();
        }
    }

    /// Whether the deadline is reached by a call that is running.
    pub(super) fn is_reached(&self) -> bool {
        match self.end {
            End::Never => false,
            End::At(end) => Moment::now().as_nanos() >= end,
            End::Used { .. } => self.attached && self.cpu_left() == 0,
        }
    }

    /// When the deadline is reached, or may be.
    fn moment(&self) -> u64 {
        match self.end {
            End::Never => NEVER,
            End::At(end) => end,
            End::Used { .. } => match self.cpu_left() {
                0 => 0,
                left => Moment::now().as_nanos().saturating_add(left.max(SHORTEST)),
            },
        }
    }

    /// Whether the engine's timer has ticked for this store, if it is to. If it could not be
    /// armed, the next check tries again.
    ///
    /// Checks compare with a deadline that was read at the function's entry. So it never was
    /// later than the next tick, even if there was none to come.
    pub(in crate::runtime::preempt) fn has_ticked(&self) -> Option<bool> {
        match &self.slot {
            _ if self.unarmed => Some(true),
            Some(slot) => Some(slot.has_fired()),
            None => (self.attached && self.checks).then_some(false),
        }
    }
}

/// A call of a store runs on this OS thread, until this is dropped.
pub(crate) struct Attached(Option<NonNull<dyn VMStore>>);

impl Attached {
    #[inline]
    pub(crate) fn attach(store: &mut StoreOpaque) -> Attached {
        let attached = store.attach_time_deadline();
        Attached(attached.then(|| store.traitobj()))
    }
}

impl Drop for Attached {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut store) = self.0 {
            // SAFETY: I26. The call that made this is still running, and its Wasm has returned,
            // so nothing else uses the store.
            unsafe { store.as_mut() }.detach_time_deadline(true);
        }
    }
}

impl StoreOpaque {
    pub(super) fn time_state(&mut self) -> &mut State {
        self.preempt.time_deadline.get_or_insert_default()
    }

    /// # Errors
    ///
    /// If a call is running, and the OS refuses to create the timer's thread.
    pub(super) fn set_time_deadline(&mut self, deadline: Option<TimeDeadline>) -> Result<()> {
        self.time_state().set(deadline);
        self.arm_time_deadline()
    }

    /// A call of this store is about to run on this OS thread. Returns whether it must be
    /// detached after: if no other call of the store was running before.
    #[inline]
    pub(crate) fn attach_time_deadline(&mut self) -> bool {
        match &self.preempt.time_deadline {
            Some(state) if !state.attached => self.attach(),
            _ => false,
        }
    }

    #[cold]
    fn attach(&mut self) -> bool {
        let checks = !self.engine().delivers_epochs_by_signal();
        let state = self.time_state();
        state.count();
        state.attached = true;
        state.checks = checks;
        // If this fails, the guest's first check says so.
        let _ = self.arm_time_deadline();
        true
    }

    /// No call of this store is running on this OS thread any more, if it must be detached.
    #[inline]
    pub(crate) fn detach_time_deadline(&mut self, attached: bool) {
        if attached {
            self.detach();
        }
    }

    #[cold]
    fn detach(&mut self) {
        let state = self.time_state();
        state.count();
        state.attached = false;
        state.unarmed = false;
        let slot = mem::take(&mut state.slot);
        if let Some(slot) = slot {
            self.engine().epoch_timer().unregister(&slot);
        }
        self.unwatch_time();
    }

    /// The deadline is not reached yet: has the guest interrupted again, if that is needed.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create the timer's thread, or this OS thread cannot receive signals.
    pub(super) fn put_time_deadline_off(&mut self) -> Result<()> {
        let state = self.time_state();
        match state.end {
            End::Used { .. } => {
                state.count();
                self.arm_time_deadline()
            }
            // It could not be armed, or this process was forked.
            End::At(_) if state.has_ticked() == Some(true) => self.arm_time_deadline(),
            End::Never | End::At(_) => Ok(()),
        }
    }

    /// Has the guest interrupted in time, if a call is running.
    fn arm_time_deadline(&mut self) -> Result<()> {
        let state = self.time_state();
        if !state.attached {
            return Ok(());
        }
        let moment = state.moment();
        let armed = match self.engine().delivers_epochs_by_signal() {
            true => self.watch_time(moment),
            false => self.arm_time_slot(moment),
        };
        self.time_state().unarmed = armed.is_err();
        self.arm_epoch_deadline();
        armed
    }

    fn arm_time_slot(&mut self, moment: u64) -> Result<()> {
        let attention = Attention::of(self);
        let state = self.time_state();
        let slot = mem::take(&mut state.slot);
        let timer = self.engine().epoch_timer();
        let slot = match slot {
            None if moment == NEVER => return Ok(()),
            None => timer.register(attention, true)?,
            Some(slot) => slot,
        };
        let armed = match moment <= Moment::now().as_nanos() {
            true => {
                timer.end_now(&slot);
                Ok(())
            }
            false => timer.arm(&slot, moment),
        };
        self.time_state().slot = Some(slot);
        armed
    }
}
