//! A store's guest threads. `threads/state.rs` has their states, `threads/transitions.rs` moves
//! them from one to another.
//!
//! Who may touch what:
//!
//! 1. `threads`, `ready` and `policy` change only here and in the modules below:
//!    entry.rs defines the per-thread records, table.rs keeps them, scheduling.rs asks the
//!    policy, parking.rs parks and wakes, limiting.rs charges and checks limits, throttling.rs
//!    keeps to CPU rates, recording.rs keeps the clocks and the trace, listing.rs reports. So
//!    does `running`, except that suspend.rs records why the thread leaves the CPU, park.rs what
//!    it waits for, and source/fuel.rs the fuel that it uses.
//! 2. The policy knows that a `Ready` thread is ready, and its `fiber` is here. `ready`
//!    counts these threads, whatever the policy says. A `paused` thread is the exception.
//! 3. At most one thread is `Running`. Its fiber is on the stack of
//!    `dispatch.rs`, which gives it back with arrow 3 or drops it with 4.
//! 4. Ids are never reused. The counter is 64 bits wide and never wraps.

use super::budget::Busy;
use super::clock::{Moment, NEVER};
#[cfg(feature = "component-model")]
use super::components::Components;
use super::exit::{Exit, OwnedExit, Values};
use super::id::ThreadId;
use super::info::ThreadInfo;
use super::limits::{Budget, LimitHook};
use super::policy::{Policy, RoundRobin};
use super::remote::Remote;
use super::sharing::Sharing;
use super::slice::{Preemption, Slice};
use super::source::attention::Attention;
use super::source::interrupt::Interrupt;
use super::source::jitter::Jitter;
use super::stacks::IdleStacks;
use super::trace::Ring;
use super::virtual_clock::WaitClock;
#[cfg(feature = "gc")]
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::store::{InstanceId, StoreOpaque};
use crate::{Func, SharedMemory};
use core::sync::atomic::AtomicU64;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

mod entry;
mod grant;
mod limiting;
mod listing;
mod parking;
mod recording;
mod scheduling;
mod state;
mod table;
mod throttling;
mod transitions;
mod wait_clock;

pub(crate) use self::entry::Running;
pub(super) use self::entry::{End, EndWaker, ExitHook, Exited, Off};
use self::entry::{Paused, Thread};
use self::state::RunState;
use self::table::Table;

/// The part of a store that only a store with guest threads has.
pub(crate) struct PreemptiveThreads {
    threads: Table,
    policy: Policy,
    /// How many threads are `Ready`.
    ready: usize,
    /// How many are unfinished, and so have a stack.
    live: usize,
    /// The thread to dispatch next, to continue a slice of fuel that was interrupted for the
    /// time. Its state is `Ready`. But `ready` does not count it, and the policy has not been
    /// notified that it left the CPU.
    paused: Option<Paused>,
    /// The thread on the CPU, while there is one.
    running: Running,
    is_running: bool,
    last_id: u64,
    groups: HashMap<u64, Budget>,
    /// Whether a thread or a group has ever had a CPU rate or a tenant.
    has_rates: bool,
    /// How many times threads were throttled that no summary has yet.
    throttles: u64,
    /// When to wake parked threads.
    alarms: BTreeSet<(Moment, ThreadId)>,
    /// The clock that those times are of.
    wait_clock: WaitClock,
    /// By thread: the threads that wait for its end.
    joiners: HashMap<ThreadId, BTreeSet<ThreadId>>,
    /// By thread: other wakers to wake at its end.
    end_wakers: HashMap<ThreadId, Vec<Weak<EndWaker>>>,
    /// A thread that somebody could wake when that was last asked.
    may_be_woken: AtomicU64,
    /// Finished threads whose hooks are yet to be called.
    exited: VecDeque<Exited>,
    /// Shared memories that nobody else uses, by address.
    pub(super) own_memories: HashMap<usize, SharedMemory>,
    pub(super) own_all_memories: bool,
    /// When threads exceed their wall time limits.
    timeouts: BTreeSet<(Moment, ThreadId)>,
    /// The origin of the clock that policies and traces see, if slices are time.
    start: Moment,
    /// The same clock, if slices are fuel: what all threads together have used.
    fuel_clock: u64,
    /// When the current run began, and how long all earlier ones took together, in
    /// nanoseconds.
    run_start: Option<Moment>,
    run_time: u64,
    trace: Option<Ring>,
    /// Whether the trace has the beginning of the current run.
    run_is_traced: bool,
    /// Called at soft limits.
    pub(super) limit_hook: Option<LimitHook>,
    /// Requests from other OS threads.
    pub(super) remote: Arc<Remote>,

    /// The preemption source, fixed by the engine.
    pub(super) preemption: Preemption,
    /// The slice of threads that have none of their own.
    pub(super) slice: Slice,
    /// Keeps slices of fuel from falling into step with a guest.
    pub(super) jitter: Jitter,
    /// How many threads may be in `threads`.
    pub(super) limit: usize,
    /// How many bytes their stacks may take together.
    pub(super) stack_limit: usize,
    /// Stacks of finished threads.
    pub(super) idle_stacks: IdleStacks,
    /// What they would share.
    pub(super) sharing: Sharing,
    #[cfg(feature = "component-model")]
    pub(super) components: Components,
    /// Whether they are being run or ended.
    pub(super) run_state: RunState,
    /// Set while a run as a future has something to do.
    pub(super) busy: Option<Busy>,
    pub(super) fuel: super::source::fuel::FuelState,
    pub(super) epoch: super::source::epoch::EpochState,
    pub(super) signal: super::source::signal::SignalState,
}

impl PreemptiveThreads {
    /// How many threads a store may have unless `WasmThreads::set_max_threads` says
    /// otherwise.
    const DEFAULT_LIMIT: usize = 10_000;

    pub(super) fn new(preemption: Preemption, attention: Attention) -> PreemptiveThreads {
        let now = Moment::now();
        let remote = Arc::<Remote>::default();
        if preemption == Preemption::Fuel {
            remote.set_interrupt(Interrupt::Fuel(attention));
        }
        PreemptiveThreads {
            threads: Table::default(),
            policy: Policy::RoundRobin(RoundRobin::default()),
            ready: 0,
            live: 0,
            paused: None,
            running: Running::nobody(),
            is_running: false,
            last_id: 0,
            groups: HashMap::new(),
            has_rates: false,
            throttles: 0,
            alarms: BTreeSet::new(),
            wait_clock: WaitClock::default(),
            joiners: HashMap::new(),
            end_wakers: HashMap::new(),
            may_be_woken: AtomicU64::new(0),
            exited: VecDeque::new(),
            own_memories: HashMap::new(),
            own_all_memories: false,
            timeouts: BTreeSet::new(),
            start: now,
            fuel_clock: 0,
            run_start: None,
            run_time: 0,
            trace: None,
            run_is_traced: false,
            limit_hook: None,
            remote,
            preemption,
            slice: Slice::default_for(preemption),
            jitter: Jitter::default(),
            limit: Self::DEFAULT_LIMIT,
            stack_limit: usize::MAX,
            idle_stacks: IdleStacks::default(),
            sharing: Sharing::default(),
            #[cfg(feature = "component-model")]
            components: Components::default(),
            run_state: RunState::default(),
            busy: None,
            fuel: super::source::fuel::FuelState::default(),
            epoch: super::source::epoch::EpochState::default(),
            signal: super::source::signal::SignalState::default(),
        }
    }

    /// # Errors
    ///
    /// If there is no room for one more thread with a stack of `stack` bytes.
    pub(super) fn ensure_room(&self, stack: usize) -> Result<()> {
        ensure!(
            !self.run_state.is_shutdown(),
            "cannot spawn a guest thread: the store's are being shut down"
        );
        ensure!(
            (self.live + 1).saturating_mul(stack) <= self.stack_limit,
            "cannot spawn a guest thread: with its stack of {stack} bytes the stacks of \
             the store's {} would have more than {} bytes, which is their limit; use a \
             smaller `Config::async_stack_size` (and `Config::max_wasm_stack`), wait for others \
             to finish, or raise the limit with `WasmThreads::set_max_stack_bytes`",
            self.live + 1,
            self.stack_limit,
        );
        ensure!(
            self.threads.len() < self.limit,
            "cannot spawn a guest thread: the store has {} already, which is its \
             limit; take the exits of finished ones, spawn them as `detached`, or \
             raise the limit with `WasmThreads::set_max_threads`",
            self.threads.len(),
        );
        Ok(())
    }

    /// Sets the hook to call when `id` has finished.
    pub(super) fn set_exit_hook(&mut self, id: ThreadId, hook: ExitHook) -> Result<()> {
        self.live_mut(id, "given a hook")?.extra_mut().exit_hook = Some(hook);
        Ok(())
    }

    /// Takes the next finished thread that has a hook.
    pub(super) fn next_exited(&mut self) -> Option<Exited> {
        self.exited.pop_front()
    }

    /// The first unfinished thread, other than `but`, in an instance for which `is_it` is true.
    pub(super) fn live_in(
        &self,
        is_it: impl Fn(InstanceId) -> bool,
        but: Option<ThreadId>,
    ) -> Option<ThreadInfo<'_>> {
        let threads = self.threads.iter();
        let of_it = threads.filter(|(_, thread)| thread.instance.is_some_and(&is_it));
        let others = of_it.map(|(id, _)| id).filter(|id| Some(*id) != but);
        self.get(others.min()?)
    }

    /// The instance whose state `id` may use, if it has any and the thread has not finished.
    pub(super) fn instance_of(&self, id: ThreadId) -> Option<InstanceId> {
        self.threads.get(&id)?.instance
    }

    #[inline]
    pub(super) fn running(&self) -> Option<&Running> {
        self.is_dispatched().then_some(&self.running)
    }

    #[inline]
    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        self.is_dispatched().then_some(&mut self.running)
    }

    /// Whether a thread is on the CPU. One that keeps the store between two polls of a run's
    /// future does not count: if that future was leaked, plain calls belong to no thread.
    fn is_dispatched(&self) -> bool {
        self.is_running && !self.run_state.is_kept()
    }

    /// How many threads there are, finished ones included.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether a thread is waiting for the CPU.
    pub(super) fn anyone_ready(&self) -> bool {
        self.ready > 0 || self.paused.is_some()
    }

    /// Whether the running thread's slice has an end: another thread is waiting for the CPU,
    /// or the running one will be suspended.
    pub(super) fn slice_has_end(&self) -> bool {
        let is_suspended = |running: &Running| {
            let thread = self.threads.get(&running.id);
            thread.is_some_and(|thread| thread.status.is_suspended())
        };
        self.ready > 0 || self.running().is_some_and(is_suspended)
    }

    /// When to interrupt the running thread, in nanoseconds on the clock: at the end of its
    /// slice if that has one, otherwise at the next alarm; at `run_end` and at its limits at
    /// the latest.
    pub(super) fn interrupt_at(&self, run_end: u64) -> Option<u64> {
        let running = self.running()?;
        let end = if self.slice_has_end() {
            running.slice_end
        } else {
            self.next_alarm().map_or(NEVER, Moment::as_nanos)
        };
        Some(end.min(run_end).min(running.limit_end))
    }

    /// Whether any thread is unfinished.
    pub(super) fn anyone_live(&self) -> bool {
        self.live > 0
    }

    /// Gives one thread its own slice, from its next dispatch on.
    pub(super) fn set_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        slice.validate(self.preemption)?;
        self.live_mut(id, "given another slice")?.slice = Some(slice);
        Ok(())
    }

    /// The suspended fibers, for the garbage collector (rule I3). It finds the running one's
    /// frames through the activations of the OS thread.
    #[cfg(feature = "gc")]
    pub(crate) fn fibers_mut(&mut self) -> impl Iterator<Item = &mut StoreFiber<'static>> {
        self.threads
            .values_mut()
            .filter_map(|t| t.status.fiber_mut())
            .map(|fiber| &mut **fiber)
    }
}

impl Drop for PreemptiveThreads {
    fn drop(&mut self) {
        // I19: from now on nobody holds the store's attention.
        self.remote.set_interrupt(Interrupt::None);
    }
}

impl StoreOpaque {
    /// The guest threads of this store, created on first use.
    ///
    /// # Errors
    ///
    /// If the engine was not configured for them.
    pub(super) fn preemptive_threads(&mut self) -> Result<&mut PreemptiveThreads> {
        let preemption = self.engine().config().preemption;
        let attention = Attention::of(self);
        match (self.preempt_mut(), preemption) {
            (slot @ None, Some(preemption)) => {
                let threads = PreemptiveThreads::new(preemption, attention);
                Ok(slot.insert(Box::new(threads)))
            }
            (Some(threads), _) => Ok(threads),
            (None, None) => bail!(
                "guest threads need an engine that can preempt them: call \
                 `Config::preemption` with `Preemption::Fuel`, `Preemption::Epoch` or \
                 `Preemption::Signal`"
            ),
        }
    }

    /// Records what `func`, the running thread's function, returned.
    pub(super) fn set_thread_results(&mut self, func: Option<Func>, results: Values) {
        if let Some(running) = self.running_thread_mut() {
            running.results = Some((func, results));
        }
    }

    pub(crate) fn running_thread(&self) -> Option<&Running> {
        self.preempt()?.running()
    }

    pub(super) fn running_thread_mut(&mut self) -> Option<&mut Running> {
        self.preempt_mut().as_mut()?.running_mut()
    }

    pub(super) fn take_thread_exit(&mut self, id: ThreadId) -> Option<Exit> {
        Some(self.take_owned_exit(id)?.into_exit(self))
    }

    pub(super) fn take_owned_exit(&mut self, id: ThreadId) -> Option<OwnedExit> {
        self.preempt_mut().as_mut()?.take_exit(id)
    }
}
