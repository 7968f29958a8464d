//! Per-thread records: `Thread`; `Running` for the current one.

use super::grant::Throttle;
use super::state::Status;
use crate::Func;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::exit::{OwnedExit, Values};
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::info::ThreadStats;
use crate::runtime::preempt::limits::{Allowance, Budget, OverLimit};
use crate::runtime::preempt::park::Park;
use crate::runtime::preempt::policy::{Place, Policy, ThreadParams};
use crate::runtime::preempt::prefetch::Hint;
use crate::runtime::preempt::slice::Slice;
use crate::runtime::preempt::suspend::Leave;
use crate::runtime::preempt::tasks::Tasks;
use crate::runtime::preempt::thread_waker::ThreadWaker;
use crate::runtime::vm::VMStore;
use crate::store::InstanceId;
use core::ptr;
use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Mutex};

pub(super) struct Thread {
    /// The fiber is boxed because it moves to the dispatch loop and back.
    pub(super) status: Status<Box<StoreFiber<'static>>, Box<Park>, OwnedExit>,
    pub(super) name: Option<Box<str>>,
    pub(super) slice: Option<Slice>,
    pub(super) detached: bool,
    pub(super) extra: Option<Box<Extra>>,
    /// The instance whose state it has to itself until it finishes.
    pub(super) instance: Option<InstanceId>,
    pub(super) waker: Option<Arc<ThreadWaker>>,
    /// Its place in the queue of `RoundRobin`, or 0.
    pub(super) place: Place,
    /// When it was spawned, by [`PreemptiveThreads::run_clock`].
    pub(super) spawned: u64,
    /// When it last became ready, by [`PreemptiveThreads::run_clock`].
    pub(super) ready_since: u64,
    pub(super) usage: Usage,
    /// The fuel counter that its code may hold in a register.
    pub(super) fuel_held: Option<i64>,
    /// Where on its stack it left the CPU, or 0.
    pub(super) left_at: usize,
    /// Where the table keeps this. The table sets it.
    pub(super) page: u32,
}

/// What most threads do not need.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) params: ThreadParams,
    pub(super) budget: Option<Budget>,
    /// When it was spawned and when it must end, if it has a wall time limit.
    pub(super) timeout: Option<(Moment, Moment)>,
    pub(super) exit_hook: Option<ExitHook>,
    pub(super) throttle: Throttle,
}

/// The embedder's hook for a finished thread, for the store's own type.
pub(in crate::runtime::preempt) type ExitHook =
    Box<dyn FnOnce(&mut dyn VMStore, ThreadId) + Send + Sync>;

/// A finished thread.
pub(in crate::runtime::preempt) struct Exited {
    pub(in crate::runtime::preempt) id: ThreadId,
    pub(in crate::runtime::preempt) hook: ExitHook,
    /// Whether to forget it after the hook.
    pub(in crate::runtime::preempt) detached: bool,
}

impl Thread {
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
    pub(super) fn stats(&self, throttle: Option<&Throttle>) -> ThreadStats {
        ThreadStats {
            cpu_time: Duration::from_nanos(self.cpu_time),
            wall_time: Duration::from_nanos(self.wall_time),
            dispatches: self.dispatches,
            preemptions: self.preemptions,
            yields: self.yields,
            ready_time: Duration::from_nanos(self.ready_time),
            longest_wait: Duration::from_nanos(self.longest_wait),
            fuel_consumed: self.fuel_consumed,
            throttles: throttle.map_or(0, |throttle| throttle.times),
            throttled_time: Duration::from_nanos(throttle.map_or(0, |throttle| throttle.time)),
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

/// The thread on the CPU. It stays in place and is written field by field: moving it would
/// mean waiting for these stores at every dispatch.
pub(crate) struct Running {
    pub(in crate::runtime::preempt) id: ThreadId,
    /// See [`Thread::page`].
    pub(super) page: u32,
    pub(in crate::runtime::preempt) slice: Slice,
    /// When the slice is over, if it is time: a [`Moment`] in nanoseconds. The slice goes on
    /// while the thread keeps the store.
    pub(in crate::runtime::preempt) slice_end: u64,
    /// What is left of its limits, and when to check those of time.
    pub(in crate::runtime::preempt) allowance: Allowance,
    pub(in crate::runtime::preempt) limit_end: u64,
    /// Why it must end as soon as possible.
    pub(in crate::runtime::preempt) over: Option<Box<OverLimit>>,
    pub(super) since: Moment,
    pub(super) cpu_since: Option<Duration>,
    /// CPU time used before it last kept the store and then continued.
    pub(super) cpu_before: Duration,
    /// `VMStoreContext::fuel_consumed` when fuel was last handed out. Growth since then is
    /// not in `fuel_consumed` yet.
    pub(in crate::runtime::preempt) fuel_armed: i64,
    pub(in crate::runtime::preempt) fuel_consumed: u64,
    /// Its counter when it went off the CPU, if its code relies on it.
    pub(in crate::runtime::preempt) fuel_held: Option<i64>,
    /// Whether it continues after a pause.
    pub(in crate::runtime::preempt) was_paused: bool,
    /// Whether the trace still has it on the CPU.
    pub(super) is_seen_on_cpu: bool,
    /// Fuel of its slice used before the pause.
    pub(in crate::runtime::preempt) used_before: u64,
    /// Why it left the CPU.
    pub(in crate::runtime::preempt) left: Leave,
    /// Where on its stack it did: see [`Thread::left_at`].
    pub(in crate::runtime::preempt) left_at: usize,
    /// Whether it is in a host call, saved while it keeps the store and is not resumed.
    pub(in crate::runtime::preempt) in_host: usize,
    /// Its tasks of the component model, put aside for the same time.
    pub(in crate::runtime::preempt) tasks: Option<Tasks>,
    /// Whether its code may have had the fuel counter in a register when it left the CPU.
    pub(in crate::runtime::preempt) fuel_in_register: bool,
    /// Whether call hooks are being called, on its way off the CPU or back to it.
    pub(in crate::runtime::preempt) in_hooks: bool,
    /// What it left the CPU to wait for.
    pub(in crate::runtime::preempt) park: Option<Box<Park>>,
    /// Its function and that function's results. A component's are not kept here.
    pub(super) results: Option<(Option<Func>, Values)>,
}

impl Running {
    /// Charges it for the fuel used since the counter was last read. `counter` is its value now.
    #[inline]
    pub(in crate::runtime::preempt) fn count_fuel(&mut self, counter: i64) {
        let used = counter.saturating_sub(self.fuel_armed);
        self.charge_fuel(u64::try_from(used).unwrap_or(0));
        self.fuel_armed = counter;
    }

    /// Charges it for fuel that it, or a host function for it, has used.
    pub(in crate::runtime::preempt) fn charge_fuel(&mut self, units: u64) {
        self.fuel_consumed = self.fuel_consumed.saturating_add(units);
    }

    /// Whether it has used up the fuel of its slice or its allowance.
    #[inline]
    pub(in crate::runtime::preempt) fn fuel_is_spent(&self) -> bool {
        let allowed = self.allowance.fuel;
        self.fuel_of_slice_left() == Some(0)
            || allowed.is_some_and(|fuel| self.fuel_consumed >= fuel)
    }

    /// What is left of its slice, if slices are fuel.
    #[inline]
    pub(in crate::runtime::preempt) fn fuel_of_slice_left(&self) -> Option<u64> {
        match self.slice {
            Slice::Fuel(slice) => Some(slice.saturating_sub(self.fuel_consumed)),
            Slice::Time(_) => None,
        }
    }

    /// Its record for a pause before the end of its slice.
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
            page: 0,
            slice: Slice::Fuel(0),
            slice_end: 0,
            allowance: Allowance::default(),
            limit_end: NEVER,
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
            left_at: 0,
            in_host: 0,
            tasks: None,
            fuel_in_register: false,
            in_hooks: false,
            park: None,
            results: None,
        }
    }
}

/// How a thread finishes.
pub(in crate::runtime::preempt) enum End {
    /// It trapped, or its function left its results in [`Running::results`].
    ByItself(Option<OwnedExit>),
    /// It was ended with this exit.
    Ended(OwnedExit),
}

/// A paused thread, which will be dispatched next.
pub(super) struct Paused {
    pub(super) id: ThreadId,
    /// Whether the trace shows the pause. It does not show one in the middle of a run.
    pub(super) recorded: bool,
    /// What is left of its slice, and what it has used of it, in fuel.
    pub(super) slice: u64,
    pub(super) used: u64,
}

/// A thread that went off the CPU.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime::preempt) struct Off {
    pub(in crate::runtime::preempt) id: ThreadId,
    /// Whether its slice was over.
    pub(in crate::runtime::preempt) preempted: bool,
    /// Whether it may be over a limit.
    pub(in crate::runtime::preempt) limited: bool,
}

/// A waker to wake at a thread's end, unless its owner drops it first.
pub(in crate::runtime::preempt) type EndWaker = Mutex<Waker>;

/// Puts `id` at the end of the queue, if the policy has one.
pub(super) fn enqueue(policy: &mut Policy, id: ThreadId, thread: &mut Thread) {
    if let Policy::RoundRobin(queue) = policy {
        let fiber = thread
            .status
            .fiber()
            .map_or(0, |fiber| ptr::from_ref(&**fiber).addr());
        let hint = Hint {
            fiber,
            stack: thread.left_at,
            page: thread.page,
        };
        thread.place = queue.push(id, hint);
    }
}
