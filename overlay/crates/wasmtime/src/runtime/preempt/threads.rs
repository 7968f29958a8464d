//! The guest threads of a store. `threads/state.rs` moves them from state to state.
//!
//! Who may touch what:
//!
//! 1. `threads`, `ready`, `policy` and `running` change only here and in the modules
//!    below: entry.rs has what is kept of each, scheduling.rs asks the policy, parking.rs
//!    has those that wait, limiting.rs charges and judges, recording.rs keeps clocks and
//!    the trace, listing.rs shows.
//! 2. A `Ready` thread is known to the policy as such and its `fiber` is here. How
//!    many there are is in `ready`, whatever the policy says.
//! 3. At most one thread is `Running`. Its fiber is on the stack of
//!    `dispatch.rs`, which gives it back with arrow 3 or drops it with 4.
//! 4. An id is given out once. The counter is 64 bits wide and never wraps.

use super::budget::Busy;
use super::clock::Moment;
use super::exit::{Exit, OwnedExit, Values};
use super::id::{IdHasher, ThreadId};
use super::info::ThreadInfo;
use super::limits::{Budget, LimitHook};
use super::policy::{Policy, RoundRobin};
use super::remote::Remote;
use super::sharing::Sharing;
use super::slice::{Preemption, Slice};
use super::source::host_call::Attention;
use super::source::interrupt::Interrupt;
use super::source::jitter::Jitter;
use super::stacks::IdleStacks;
use super::trace::Ring;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::store::{InstanceId, StoreOpaque};
use crate::{Func, SharedMemory};
use core::hash::BuildHasherDefault;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

mod entry;
mod limiting;
mod listing;
mod parking;
mod recording;
mod scheduling;
mod state;

pub(crate) use self::entry::Running;
pub(super) use self::entry::{End, EndWaker, ExitHook, Exited, Off};
use self::entry::{Paused, Thread};

/// The part of a store that a store without guest threads does not have.
pub(crate) struct PreemptiveThreads {
    threads: HashMap<ThreadId, Thread, BuildHasherDefault<IdHasher>>,
    policy: Policy,
    /// How many threads are `Ready`.
    ready: usize,
    /// How many have not finished, and so have a stack.
    live: usize,
    /// Ready, but neither counted as such nor in the policy's hands: to that it is
    /// still running.
    paused: Option<Paused>,
    /// Of the thread on the CPU, while there is one.
    running: Running,
    is_running: bool,
    last_id: u64,
    groups: HashMap<u64, Budget>,
    /// When parked threads are to be woken.
    alarms: BTreeSet<(Moment, ThreadId)>,
    /// Who waits for the end of whom.
    joiners: HashMap<ThreadId, BTreeSet<ThreadId>>,
    /// Whom else to wake at whose end.
    end_wakers: HashMap<ThreadId, Vec<Weak<EndWaker>>>,
    /// Those that have finished and whose hooks are to be called.
    exited: VecDeque<Exited>,
    /// The shared memories that nobody else uses, by their address.
    pub(super) own_memories: HashMap<usize, SharedMemory>,
    pub(super) own_all_memories: bool,
    /// When threads with a wall time limit are over it.
    timeouts: BTreeSet<(Moment, ThreadId)>,
    /// The origin of the clock that policies and traces see, if slices are time.
    start: Moment,
    /// That clock, if they are fuel: what all threads together have used.
    fuel_clock: u64,
    /// When the run began that is on, and how long all before it took together, in
    /// nanoseconds.
    run_start: Option<Moment>,
    run_time: u64,
    trace: Option<Ring>,
    /// Whether the trace has the beginning of the run that is on.
    run_is_traced: bool,
    /// Is told of soft limits.
    pub(super) limit_hook: Option<LimitHook>,
    /// What other OS threads ask for.
    pub(super) remote: Arc<Remote>,

    /// The source that ends slices: fixed by the engine.
    pub(super) preemption: Preemption,
    /// The slice of a thread that has none of its own.
    pub(super) slice: Slice,
    /// What keeps slices of fuel from being in step with a guest.
    pub(super) jitter: Jitter,
    /// How many threads may be in `threads`.
    pub(super) limit: usize,
    /// How many bytes their stacks may have together.
    pub(super) stack_limit: usize,
    /// Of those that have finished.
    pub(super) idle_stacks: IdleStacks,
    /// What they would have in common.
    pub(super) sharing: Sharing,
    /// Whether a run or a shutdown is on.
    pub(super) in_run: bool,
    /// Whether it is a run between two polls of its future, and a thread keeps the store.
    pub(super) left_kept: bool,
    /// If it is a run as a future that has something to do.
    pub(super) busy: Option<Busy>,
    /// Whether all threads are being ended.
    pub(super) shutting_down: bool,
    pub(super) fuel: super::source::fuel::FuelState,
    pub(super) epoch: super::source::epoch::EpochState,
    pub(super) signal: super::source::signal::SignalState,
}

impl PreemptiveThreads {
    /// How many threads a store may have until
    /// `WasmThreads::set_max_threads` says otherwise.
    const DEFAULT_LIMIT: usize = 10_000;

    pub(super) fn new(preemption: Preemption, attention: Attention) -> PreemptiveThreads {
        let now = Moment::now();
        let remote = Arc::<Remote>::default();
        if preemption == Preemption::Fuel {
            remote.set_interrupt(Interrupt::Fuel(attention));
        }
        PreemptiveThreads {
            threads: HashMap::default(),
            policy: Policy::RoundRobin(RoundRobin::default()),
            ready: 0,
            live: 0,
            paused: None,
            running: Running::nobody(),
            is_running: false,
            last_id: 0,
            groups: HashMap::new(),
            alarms: BTreeSet::new(),
            joiners: HashMap::new(),
            end_wakers: HashMap::new(),
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
            in_run: false,
            left_kept: false,
            busy: None,
            shutting_down: false,
            fuel: super::source::fuel::FuelState::default(),
            epoch: super::source::epoch::EpochState::default(),
            signal: super::source::signal::SignalState::default(),
        }
    }

    /// # Errors
    ///
    /// If there is no room for one more thread, whose stack has `stack` bytes.
    pub(super) fn ensure_room(&self, stack: usize) -> Result<()> {
        ensure!(
            !self.shutting_down,
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

    /// Sets what is called when `id` has finished.
    pub(super) fn set_exit_hook(&mut self, id: ThreadId, hook: ExitHook) -> Result<()> {
        self.live_mut(id, "given a hook")?.extra_mut().exit_hook = Some(hook);
        Ok(())
    }

    /// A thread that has finished and has a hook.
    pub(super) fn next_exited(&mut self) -> Option<Exited> {
        self.exited.pop_front()
    }

    /// The first thread that has not finished and is in an instance of which `is_it`
    /// is true.
    pub(super) fn live_in(&self, is_it: impl Fn(InstanceId) -> bool) -> Option<ThreadInfo<'_>> {
        let threads = self.threads.iter();
        let of_it = threads.filter(|(_, thread)| thread.instance.is_some_and(&is_it));
        self.get(*of_it.map(|(id, _)| id).min()?)
    }

    #[inline]
    pub(super) fn running(&self) -> Option<&Running> {
        self.is_dispatched().then_some(&self.running)
    }

    #[inline]
    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        self.is_dispatched().then_some(&mut self.running)
    }

    /// Whether there is a thread on the CPU, and not one that keeps the store between two
    /// polls of a run's future: if that was forgotten, plain calls are nobody's.
    fn is_dispatched(&self) -> bool {
        self.is_running && !self.left_kept
    }

    /// Whether there is none, finished ones included.
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// How many there are, finished ones included.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether a thread waits for the CPU.
    pub(super) fn anyone_ready(&self) -> bool {
        self.ready > 0 || self.paused.is_some()
    }

    /// Whether the running thread's slice has an end: somebody waits for the CPU, or it is
    /// to be suspended.
    pub(super) fn slice_has_end(&self) -> bool {
        let is_suspended = |running: &Running| {
            let thread = self.threads.get(&running.id);
            thread.is_some_and(|thread| thread.suspended)
        };
        self.ready > 0 || self.running().is_some_and(is_suspended)
    }

    /// When the running thread is to be interrupted, in nanoseconds on the clock: at the end
    /// of its slice if that has one, or when somebody is to be woken, at `run_end` and at its
    /// limits at the latest.
    pub(super) fn interrupt_at(&self, run_end: u64) -> Option<u64> {
        let running = self.running()?;
        let end = if self.slice_has_end() {
            running.slice_end
        } else {
            self.next_alarm().map_or(u64::MAX, Moment::as_nanos)
        };
        Some(end.min(run_end).min(running.limit_end))
    }

    /// Whether there is a thread that has not finished.
    pub(super) fn anyone_live(&self) -> bool {
        self.live > 0
    }

    /// Gives one thread a slice of its own, from its next dispatch on.
    pub(super) fn set_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        slice.validate(self.preemption)?;
        self.live_mut(id, "given another slice")?.slice = Some(slice);
        Ok(())
    }

    /// The suspended fibers, for the garbage collector (rule I3). The running
    /// one's frames are found from the activations of the OS thread.
    #[cfg(feature = "gc")]
    pub(crate) fn fibers_mut(&mut self) -> impl Iterator<Item = &mut StoreFiber<'static>> {
        self.threads
            .values_mut()
            .filter_map(|t| t.fiber.as_deref_mut())
    }
}

impl Drop for PreemptiveThreads {
    fn drop(&mut self) {
        // I19: from now on nobody has the store's attention.
        self.remote.set_interrupt(Interrupt::None);
    }
}

impl StoreOpaque {
    /// The guest threads of this store, made on first use.
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

    /// Takes note of what `func`, the running thread's function, returned.
    pub(super) fn set_thread_results(&mut self, func: Func, results: Values) {
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
