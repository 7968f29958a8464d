//! The guest threads of a store: their states, and who may move them.
//!
//! ```text
//!                          (1) spawned
//!                              |
//!                              v
//!                 +----------------------+   (7) suspended   +-----------------+
//!                 |        Ready         | ----------------> |     Blocked     |
//!                 |  fiber, in the queue | <---------------- |  fiber is here  |
//!                 +----------------------+ (8) resumed       +-----------------+
//!                   |    |             ^                          |         ^
//!        (5) killed |    | (2)         | (3) preempted, yielded   | (5)     | (3)
//!                   |    | dispatched  |                          |         |
//!                   |    v             |                          |         |
//!                   |   +----------------------+                  |         |
//!                   |   |       Running        |------------------|---------+
//!                   |   |  fiber on the CPU    |                  |
//!                   |   +----------------------+                  |
//!                   |                  |                          |
//!                   |                  | (4) returned, trapped,   |
//!                   |                  |     panicked, over       |
//!                   v                  v     its limit            v
//!                 +---------------------------------------------------+
//!                 |                     Finished                      |
//!                 |                no fiber, an exit                  |
//!                 +---------------------------------------------------+
//!                              |
//!                              v (6) taken, or at once if detached
//! ```
//!
//! | arrow | function |
//! |---|---|
//! | 1 | [`PreemptiveThreads::insert`] |
//! | 2 | [`PreemptiveThreads::start_next`] |
//! | 3 | [`PreemptiveThreads::stop_running`]; to `Blocked` if it waits for something (parked), or was suspended meanwhile |
//! | 4 | [`PreemptiveThreads::finish`] |
//! | 5 | [`PreemptiveThreads::start_ending`] and then 4: the host code that unwinding calls sees whose it is |
//! | 6 | [`PreemptiveThreads::take_exit`] |
//! | 7 | [`PreemptiveThreads::suspend`] |
//! | 8 | [`PreemptiveThreads::resume`], if it was suspended, and `wake` (parking.rs), if it was parked. A thread that is both needs both |
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

use super::Leave;
use super::clock::{Moment, nanos};
use super::executor::Busy;
use super::exit::{Exit, OwnedExit, Values};
use super::host_return::Attention;
use super::id::{IdHasher, ThreadId};
use super::info::ThreadInfo;
use super::jitter::Jitter;
use super::limits::{Allowance, Budget, LimitHook, thread_cpu_time};
use super::policy::{Policy, RoundRobin, ThreadParams};
use super::remote::{Interrupt, Remote};
use super::sharing::Sharing;
use super::slice::{Preemption, Slice};
use super::spawn::ThreadOptions;
use super::stacks::IdleStacks;
use super::trace::{Ring, Traced};
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::store::{InstanceId, StoreOpaque};
use crate::{Func, SharedMemory};
use core::hash::BuildHasherDefault;
use core::time::Duration;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

mod entry;
mod limiting;
mod listing;
mod parking;
mod recording;
mod scheduling;

pub(crate) use self::entry::Running;
pub(super) use self::entry::{End, ExitHook, Exited, Off};
use self::entry::{Extra, Paused, Start, Thread, Usage};
pub(super) use self::parking::EndWaker;
use self::scheduling::enqueue;

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
    pub(super) fuel: super::fuel::FuelState,
    pub(super) epoch: super::epoch::EpochState,
    pub(super) signal: super::signal::SignalState,
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
            fuel: super::fuel::FuelState::default(),
            epoch: super::epoch::EpochState::default(),
            signal: super::signal::SignalState::default(),
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

    /// Arrow 1.
    pub(super) fn insert(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        options: ThreadOptions,
        instance: Option<InstanceId>,
    ) -> ThreadId {
        self.last_id += 1;
        let id = ThreadId(self.last_id);
        let extra = options.attributes.map(|attributes| {
            let limits = attributes.limits;
            let timeout = limits.wall_time.and_then(|time| {
                let now = Moment::now();
                Some((now, now.checked_add(time)?))
            });
            if let Some((_, end)) = timeout {
                self.timeouts.insert((end, id));
            }
            Box::new(Extra {
                params: attributes.params,
                budget: (!limits.is_none()).then(|| Budget::new(limits)),
                timeout,
                exit_hook: None,
            })
        });
        let ready_since = self.run_clock(None);
        self.threads.insert(
            id,
            Thread {
                fiber: Some(fiber),
                exit: None,
                name: options.name,
                slice: options.slice,
                detached: options.detached,
                extra,
                instance,
                suspended: false,
                park: None,
                waker: None,
                place: 0,
                spawned: ready_since,
                ready_since,
                usage: Usage::default(),
                fuel_held: None,
            },
        );
        self.live += 1;
        if let Some(instance) = instance {
            self.sharing.enter(instance);
        }
        self.record(None, Some(id), Traced::Spawned);
        self.make_ready(id);
        if let Policy::Custom(_) = &self.policy {
            let thread = self.threads.get(&id);
            let params = thread.map_or_else(ThreadParams::default, Thread::params);
            self.tell(None, |policy, now| policy.spawned(now, id, &params));
        }
        id
    }

    /// Counts `id` as ready, and puts it at the end of the queue.
    fn make_ready(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get_mut(&id) {
            self.ready += 1;
            enqueue(&mut self.policy, id, thread);
        }
    }

    /// Arrow 2. `None` if no thread is ready.
    ///
    /// # Errors
    ///
    /// If the embedder's policy has made no sense.
    #[inline(always)]
    pub(super) fn start_next(&mut self, now: Moment) -> Result<Option<Box<StoreFiber<'static>>>> {
        let Some((id, slice)) = self.pick(now)? else {
            return Ok(None);
        };
        let fiber = self.start(id, slice, now, Start::Dispatch);
        self.record_dispatch(now);
        Ok(fiber)
    }

    /// Puts `id` on the CPU. `None` if it is not there for that.
    #[inline(always)]
    fn start(
        &mut self,
        id: ThreadId,
        slice: Option<u64>,
        now: Moment,
        why: Start,
    ) -> Option<Box<StoreFiber<'static>>> {
        let run_clock = self.run_clock(Some(now));
        let goes_on = self.paused.as_ref().is_some_and(|paused| paused.id == id);
        // One that is dispatched is ready.
        let was_ready = match why {
            _ if goes_on => false,
            Start::Dispatch => true,
            Start::End => {
                let was_ready = self.threads.get(&id)?.is_ready();
                self.unpark(id);
                was_ready
            }
        };
        let thread = self.threads.get_mut(&id)?;
        let fiber = thread.fiber.take()?;
        thread.place = 0;

        let running = &mut self.running;
        // Most threads have no limits.
        running.allowance = Allowance::default();
        running.limit_end = u64::MAX;
        running.over = None;
        running.cpu_since = None;
        if why == Start::Dispatch {
            if thread.extra.is_some() || !self.timeouts.is_empty() {
                let (allowance, over) = thread.allowance(&self.groups, &self.timeouts, now);
                running.allowance = allowance;
                running.limit_end = allowance.end(now);
                running.over = over;
                if allowance.count_cpu_time {
                    running.cpu_since = thread_cpu_time();
                }
            }
            let waited = run_clock.saturating_sub(thread.ready_since);
            thread.usage.ready_time += waited;
            thread.usage.longest_wait = thread.usage.longest_wait.max(waited);
            // To go on after a pause is none: pauses are up to the clock, and what is counted
            // where slices are fuel is not.
            thread.usage.dispatches += u64::from(!goes_on);
        }
        running.id = id;
        running.was_paused = goes_on;
        running.is_seen_on_cpu = false;
        running.used_before = 0;
        running.slice = match slice {
            Some(ticks) => Slice::nearest(ticks, self.preemption),
            None if goes_on || why == Start::End => thread.slice.unwrap_or(self.slice),
            None => self.jitter.apply(thread.slice.unwrap_or(self.slice)),
        };
        if goes_on && let Some(paused) = self.paused.take() {
            running.slice = Slice::nearest(paused.slice, self.preemption);
            running.is_seen_on_cpu = !paused.recorded;
            running.used_before = paused.used;
        }
        running.slice_end = match running.slice {
            Slice::Time(slice) => now.as_nanos().saturating_add(nanos(slice)),
            Slice::Fuel(_) => 0,
        };
        running.since = now;
        running.cpu_before = Duration::ZERO;
        running.fuel_armed = 0;
        running.fuel_consumed = 0;
        running.fuel_held = thread.fuel_held.take();
        running.left = Leave::Yielded;
        running.fuel_in_register = false;
        running.park = None;
        running.results = None;
        self.is_running = true;

        if let Some(held) = running.fuel_held
            && !self.groups.is_empty()
            && let Some(budget) = self.groups.get_mut(&thread.group())
        {
            budget.give_back(held);
        }
        if was_ready {
            self.ready -= 1;
        }
        self.remote.start(id, self.ready == 0, self.preemption);
        Some(fiber)
    }

    /// The first half of arrow 5: puts `id` on the CPU, if it has not finished.
    pub(super) fn start_ending(
        &mut self,
        id: ThreadId,
        now: Moment,
    ) -> Option<Box<StoreFiber<'static>>> {
        self.start(id, None, now, Start::End)
    }

    /// Arrow 3.
    #[inline(always)]
    pub(super) fn stop_running(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        fuel_held: Option<i64>,
        now: Moment,
    ) -> Option<Off> {
        if !core::mem::take(&mut self.is_running) {
            return None;
        }
        self.remote.stop();
        self.fuel_clock = self.fuel_clock.saturating_add(self.running.fuel_consumed);
        let (id, left) = (self.running.id, self.running.left);
        let preempted = left == Leave::SliceOver;
        let parked = match self.running.park.take() {
            Some(park) => self.park(id, park),
            None => false,
        };
        let run_clock = self.run_clock(Some(now));
        let thread = self.threads.get_mut(&id)?;
        thread.charge(&self.running, now, &mut self.groups);
        thread.fiber = Some(fiber);
        thread.fuel_held = fuel_held;
        thread.ready_since = run_clock;
        if let Some(held) = fuel_held
            && !self.groups.is_empty()
            && let Some(budget) = self.groups.get_mut(&thread.group())
        {
            budget.hold(held);
        }
        let limited = thread.extra.is_some();
        let blocked = parked || thread.suspended;
        if left == Leave::Paused && !blocked {
            self.paused = self.running.paused();
            return Some(Off {
                id,
                preempted,
                limited,
            });
        }
        if preempted {
            thread.usage.preemptions += 1;
        } else {
            thread.usage.yields += 1;
        }
        if !blocked {
            self.ready += 1;
            enqueue(&mut self.policy, id, thread);
        }
        if self.is_watched() {
            let what = match preempted {
                true => Traced::Preempted,
                false => Traced::Yielded,
            };
            self.record(Some(now), Some(id), what);
            if blocked {
                self.record(Some(now), Some(id), Traced::Parked);
            }
            let used = self.used(now);
            self.tell(Some(now), |policy, now| match (blocked, preempted) {
                (true, _) => policy.parked(now, id, used),
                (false, true) => policy.preempted(now, id, used),
                (false, false) => policy.yielded(now, id, used),
            });
        }
        Some(Off {
            id,
            preempted,
            limited,
        })
    }

    /// Arrow 4.
    pub(super) fn finish(&mut self, end: End, now: Moment) {
        if !core::mem::take(&mut self.is_running) {
            return;
        }
        self.remote.stop();
        self.fuel_clock = self.fuel_clock.saturating_add(self.running.fuel_consumed);
        let id = self.running.id;
        let run_clock = self.run_clock(Some(now));
        let Some(thread) = self.threads.get_mut(&id) else {
            return;
        };
        thread.charge(&self.running, now, &mut self.groups);
        let exceeded = match end {
            End::ByItself(_) => thread.exceeded(&self.groups, now),
            End::Ended(_) => None,
        };
        thread.usage.wall_time = run_clock.saturating_sub(thread.spawned);
        self.live -= 1;
        if let Some(instance) = thread.instance.take() {
            self.sharing.leave(instance);
        }
        if let Some(extra) = &mut thread.extra
            && let Some((_, end)) = extra.timeout.take()
        {
            self.timeouts.remove(&(end, id));
        }
        let over = match &end {
            // It was unwound because of this.
            End::ByItself(Some(OwnedExit::Trapped(error))) => error.downcast_ref().copied(),
            _ => None,
        };
        let over = over.or(exceeded);
        let exit = match (end, over) {
            (End::Ended(exit), _) => Some(exit),
            // Nobody may have looked before it ended.
            (End::ByItself(_), Some(over)) => Some(OwnedExit::OverLimit(over)),
            (End::ByItself(Some(exit)), None) => Some(exit),
            (End::ByItself(None), None) => self
                .running
                .results
                .take()
                .map(|(func, values)| OwnedExit::Returned(func, values)),
        };
        let hook = thread
            .extra
            .as_mut()
            .and_then(|extra| extra.exit_hook.take());
        let what = match &exit {
            Some(OwnedExit::Returned(..)) | None => Traced::Returned,
            Some(OwnedExit::Trapped(_)) => Traced::Trapped,
            #[cfg(feature = "gc")]
            Some(OwnedExit::Threw(..)) => Traced::Trapped,
            Some(OwnedExit::Killed) => Traced::Killed,
            Some(OwnedExit::OverLimit(_)) => Traced::OverLimit,
        };
        let detached = thread.detached;
        if detached && hook.is_none() {
            self.threads.remove(&id);
        } else {
            thread.exit = exit;
        }
        if let Some(hook) = hook {
            self.exited.push_back(Exited { id, hook, detached });
        }
        let woken = self.wake_joiners(id, now);
        self.sweep_queue();
        // The policy last, as it may panic.
        if self.is_watched() {
            self.record(Some(now), Some(id), what);
            let used = self.used(now);
            self.tell(Some(now), |policy, now| policy.finished(now, id, used));
        }
        self.tell_of_woken(woken, Some(now));
    }

    /// Drops places in the queue that are none, if they are most of it.
    fn sweep_queue(&mut self) {
        if let Policy::RoundRobin(queue) = &mut self.policy {
            let threads = &self.threads;
            queue.sweep(self.ready, |place, id| {
                threads.get(&id).is_some_and(|thread| thread.place == place)
            });
        }
    }

    /// Gives up a thread that keeps the store and whose fiber was leaked, with the future of
    /// the run, by `mem::forget`. It never runs again.
    pub(super) fn give_up_running(&mut self, now: Moment) {
        self.in_run = false;
        // What the OS thread has done since is not the thread's.
        self.running.since = now;
        self.running.cpu_since = None;
        self.finish(End::Ended(OwnedExit::Killed), now);
    }

    /// Makes a thread count as killed that has neither finished nor a fiber to finish.
    pub(super) fn give_up(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get_mut(&id)
            && thread.exit.is_none()
            && thread.fiber.is_none()
        {
            self.live -= 1;
            thread.exit = Some(OwnedExit::Killed);
        }
    }

    /// Arrow 7. One that is running is suspended when it goes off the CPU.
    pub(super) fn suspend(&mut self, id: ThreadId) -> Result<()> {
        let thread = self.live_mut(id, "suspended")?;
        let was_ready = thread.is_ready();
        thread.suspended = true;
        if !was_ready {
            return Ok(());
        }
        thread.place = 0;
        // What is left of the slice of a paused one is lost.
        let used = match self.paused.take_if(|paused| paused.id == id) {
            Some(paused) => paused.used,
            None => {
                self.ready -= 1;
                0
            }
        };
        self.record(None, Some(id), Traced::Parked);
        self.tell(None, |policy, now| policy.parked(now, id, used));
        Ok(())
    }

    /// Arrow 8.
    pub(super) fn resume(&mut self, id: ThreadId) -> Result<()> {
        let run_clock = self.run_clock(None);
        let thread = self.live_mut(id, "resumed")?;
        if !core::mem::replace(&mut thread.suspended, false) || !thread.is_ready() {
            return Ok(());
        }
        thread.ready_since = run_clock;
        self.make_ready(id);
        self.sweep_queue();
        self.record(None, Some(id), Traced::Woken);
        self.tell(None, |policy, now| policy.woken(now, id));
        Ok(())
    }

    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    fn live_mut(&mut self, id: ThreadId, to_be: &str) -> Result<&mut Thread> {
        match self.threads.get_mut(&id) {
            Some(thread) if thread.exit.is_none() => Ok(thread),
            Some(_) => bail!("guest thread {id} has finished: it cannot be {to_be}"),
            None => bail!(
                "no guest thread {id}: it was never spawned in this store, or its \
                 exit was taken"
            ),
        }
    }

    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub(super) fn ensure_live(&mut self, id: ThreadId, to_be: &str) -> Result<()> {
        self.live_mut(id, to_be).map(|_| ())
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

    /// Arrow 6.
    pub(super) fn take_exit(&mut self, id: ThreadId) -> Option<OwnedExit> {
        let exit = self.threads.get_mut(&id)?.exit.take()?;
        self.threads.remove(&id);
        Some(exit)
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
