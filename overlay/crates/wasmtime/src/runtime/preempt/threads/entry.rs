//! What is kept of a thread, and of the one on the CPU.

use crate::Func;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::runtime::preempt::clock::Moment;
use crate::runtime::preempt::exit::{OwnedExit, Values};
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::info::ThreadStats;
use crate::runtime::preempt::limits::{Allowance, Budget, OverLimit};
use crate::runtime::preempt::park::{Park, ThreadWaker};
use crate::runtime::preempt::policy::{Place, Policy, ThreadParams};
use crate::runtime::preempt::slice::Slice;
use crate::runtime::preempt::suspend::Leave;
use crate::runtime::vm::VMStore;
use crate::store::InstanceId;
use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Mutex};

pub(super) struct Thread {
    /// Boxed, as it moves to the dispatch loop and back.
    pub(super) fiber: Option<Box<StoreFiber<'static>>>,
    pub(super) exit: Option<OwnedExit>,
    pub(super) name: Option<Box<str>>,
    pub(super) slice: Option<Slice>,
    pub(super) detached: bool,
    pub(super) extra: Option<Box<Extra>>,
    /// Whose state it has to itself, until it has finished.
    pub(super) instance: Option<InstanceId>,
    pub(super) suspended: bool,
    /// What it waits for, if it is parked.
    pub(super) park: Option<Box<Park>>,
    pub(super) waker: Option<Arc<ThreadWaker>>,
    /// Its place in the queue of `RoundRobin`, or 0.
    pub(super) place: Place,
    /// When it was spawned, by [`PreemptiveThreads::run_clock`].
    pub(super) spawned: u64,
    /// Since when it has been ready, by [`PreemptiveThreads::run_clock`].
    pub(super) ready_since: u64,
    pub(super) usage: Usage,
    /// The fuel counter that its code may have in a register.
    pub(super) fuel_held: Option<i64>,
}

/// What most threads have none of.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) params: ThreadParams,
    pub(super) budget: Option<Budget>,
    /// When it was spawned and is to end, if it has a wall time limit.
    pub(super) timeout: Option<(Moment, Moment)>,
    pub(super) exit_hook: Option<ExitHook>,
}

/// What is called when a thread has finished: the embedder's, of the store's own type.
pub(in crate::runtime::preempt) type ExitHook =
    Box<dyn FnOnce(&mut dyn VMStore, ThreadId) + Send + Sync>;

/// A thread that has finished.
pub(in crate::runtime::preempt) struct Exited {
    pub(in crate::runtime::preempt) id: ThreadId,
    pub(in crate::runtime::preempt) hook: ExitHook,
    /// Whether nothing is to be left of it.
    pub(in crate::runtime::preempt) detached: bool,
}

impl Thread {
    pub(super) fn is_ready(&self) -> bool {
        self.fiber.is_some() && !self.suspended && self.park.is_none()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.suspended || self.park.is_some()
    }

    pub(super) fn params(&self) -> ThreadParams {
        let params = self.extra.as_ref().map(|extra| extra.params.clone());
        params.unwrap_or_default()
    }

    pub(super) fn group(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.params.group)
    }

    pub(super) fn budget(&self) -> Option<&Budget> {
        self.extra.as_ref()?.budget.as_ref()
    }

    pub(super) fn budget_mut(&mut self) -> Option<&mut Budget> {
        self.extra.as_mut()?.budget.as_mut()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// What a thread has used. Times are in nanoseconds: see [`ThreadStats`].
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu_time: u64,
    pub(super) wall_time: u64,
    pub(super) dispatches: u64,
    pub(super) preemptions: u64,
    pub(super) yields: u64,
    pub(super) ready_time: u64,
    pub(super) longest_wait: u64,
    pub(super) fuel_consumed: u64,
}

impl Usage {
    pub(super) fn stats(&self) -> ThreadStats {
        ThreadStats {
            cpu_time: Duration::from_nanos(self.cpu_time),
            wall_time: Duration::from_nanos(self.wall_time),
            dispatches: self.dispatches,
            preemptions: self.preemptions,
            yields: self.yields,
            ready_time: Duration::from_nanos(self.ready_time),
            longest_wait: Duration::from_nanos(self.longest_wait),
            fuel_consumed: self.fuel_consumed,
        }
    }
}

/// Why a thread is put on the CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// To run.
    Dispatch,
    /// To be unwound.
    End,
}

/// The thread on the CPU. Stays where it is, and is written field by field: to move it
/// would wait for these stores at every dispatch.
pub(crate) struct Running {
    pub(in crate::runtime::preempt) id: ThreadId,
    pub(in crate::runtime::preempt) slice: Slice,
    /// When the slice is over, if it is time: a [`Moment`] in nanoseconds. It goes on
    /// while the thread keeps the store.
    pub(in crate::runtime::preempt) slice_end: u64,
    /// What is left of its limits, and when somebody has to look at those of time.
    pub(in crate::runtime::preempt) allowance: Allowance,
    pub(in crate::runtime::preempt) limit_end: u64,
    /// Why it is to be ended as soon as it can be.
    pub(in crate::runtime::preempt) over: Option<Box<OverLimit>>,
    pub(super) since: Moment,
    pub(super) cpu_since: Option<Duration>,
    /// What it has used of the CPU before it went on after keeping the store.
    pub(super) cpu_before: Duration,
    /// `VMStoreContext::fuel_consumed` when the fuel was last handed out. What
    /// it has grown by since is not in `fuel_consumed` yet.
    pub(in crate::runtime::preempt) fuel_armed: i64,
    pub(in crate::runtime::preempt) fuel_consumed: u64,
    /// The counter that it had when it went off the CPU, if its code counts on it.
    pub(in crate::runtime::preempt) fuel_held: Option<i64>,
    /// Whether it goes on after a pause.
    pub(in crate::runtime::preempt) was_paused: bool,
    /// Whether the trace has it on the CPU still.
    pub(super) is_seen_on_cpu: bool,
    /// What it has used of its slice before it was paused, in fuel.
    pub(in crate::runtime::preempt) used_before: u64,
    /// Why it suspended.
    pub(in crate::runtime::preempt) left: Leave,
    /// Whether it is in a host call, while it keeps the store and is not resumed.
    pub(in crate::runtime::preempt) in_host: usize,
    /// Whether its code may have had the counter in a register then.
    pub(in crate::runtime::preempt) fuel_in_register: bool,
    /// What it suspended to wait for.
    pub(in crate::runtime::preempt) park: Option<Box<Park>>,
    /// Its function, and what that returned.
    pub(super) results: Option<(Func, Values)>,
}

impl Running {
    /// Charges it for what was used since the counter was set, which it is now.
    #[inline]
    pub(in crate::runtime::preempt) fn count_fuel(&mut self, counter: i64) {
        let used = counter.saturating_sub(self.fuel_armed);
        self.charge_fuel(u64::try_from(used).unwrap_or(0));
        self.fuel_armed = counter;
    }

    /// It, or a host function for it, has used this much.
    pub(in crate::runtime::preempt) fn charge_fuel(&mut self, units: u64) {
        self.fuel_consumed = self.fuel_consumed.saturating_add(units);
    }

    /// Whether it has used the fuel of its slice, or as much as it was allowed.
    #[inline]
    pub(in crate::runtime::preempt) fn fuel_is_spent(&self) -> bool {
        let allowed = self.allowance.fuel;
        self.fuel_of_slice_left() == Some(0)
            || allowed.is_some_and(|fuel| self.fuel_consumed >= fuel)
    }

    /// What is left of its slice, if that is fuel.
    #[inline]
    pub(in crate::runtime::preempt) fn fuel_of_slice_left(&self) -> Option<u64> {
        match self.slice {
            Slice::Fuel(slice) => Some(slice.saturating_sub(self.fuel_consumed)),
            Slice::Time(_) => None,
        }
    }

    /// It is off the CPU before its slice is over.
    pub(super) fn paused(&self) -> Option<Paused> {
        Some(Paused {
            id: self.id,
            recorded: false,
            slice: self.fuel_of_slice_left()?,
            used: self.used_before.saturating_add(self.fuel_consumed),
        })
    }

    pub(super) fn nobody() -> Running {
        Running {
            id: ThreadId(0),
            slice: Slice::Fuel(0),
            slice_end: 0,
            allowance: Allowance::default(),
            limit_end: u64::MAX,
            over: None,
            since: Moment::now(),
            cpu_since: None,
            cpu_before: Duration::ZERO,
            fuel_armed: 0,
            fuel_consumed: 0,
            fuel_held: None,
            was_paused: false,
            is_seen_on_cpu: false,
            used_before: 0,
            left: Leave::Yielded,
            in_host: 0,
            fuel_in_register: false,
            park: None,
            results: None,
        }
    }
}

/// How a thread finishes.
pub(in crate::runtime::preempt) enum End {
    /// It has trapped, or its function has left values in [`Running::results`].
    ByItself(Option<OwnedExit>),
    /// It was ended so.
    Ended(OwnedExit),
}

/// A thread that was paused: it is the next to be dispatched.
pub(super) struct Paused {
    pub(super) id: ThreadId,
    /// Whether the trace tells of it. That of a pause in the middle of a run does not.
    pub(super) recorded: bool,
    /// What is left of its slice, and what it has used of that, in fuel.
    pub(super) slice: u64,
    pub(super) used: u64,
}

/// A thread that went off the CPU.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime::preempt) struct Off {
    pub(in crate::runtime::preempt) id: ThreadId,
    /// Whether because its slice was over.
    pub(in crate::runtime::preempt) preempted: bool,
    /// Whether it may be over a limit.
    pub(in crate::runtime::preempt) limited: bool,
}

/// A waker that is woken at a thread's end, unless whoever has this drops it before.
pub(in crate::runtime::preempt) type EndWaker = Mutex<Waker>;

/// Puts `id` at the end of the queue, if there is one.
pub(super) fn enqueue(policy: &mut Policy, id: ThreadId, thread: &mut Thread) {
    if let Policy::RoundRobin(queue) = policy {
        thread.place = queue.push(id);
    }
}
