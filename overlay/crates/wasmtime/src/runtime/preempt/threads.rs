//! The guest threads of a store: their states, and who may move them.
//!
//! ```text
//!                          (1) spawn
//!                              |
//!                              v
//!                 +----------------------+
//!                 |        Ready         | <----------+
//!                 |  fiber, in the queue |            |
//!                 +----------------------+            | (3) preempted, yielded
//!                   |                  |              |
//!        (5) killed |                  | (2) dispatched
//!                   |                  v              |
//!                   |       +----------------------+  |
//!                   |       |       Running        |--+
//!                   |       |  fiber on the CPU    |
//!                   |       +----------------------+
//!                   |                  |
//!                   |                  | (4) returned, trapped, panicked
//!                   v                  v
//!                 +----------------------+
//!                 |       Finished       |
//!                 |  no fiber, an exit   |
//!                 +----------------------+
//!                              |
//!                              v (6) taken, or at once if detached
//! ```
//!
//! | arrow | function |
//! |---|---|
//! | 1 | [`PreemptiveThreads::insert`] |
//! | 2 | [`PreemptiveThreads::start_next`] |
//! | 3 | [`PreemptiveThreads::stop_running`] |
//! | 4 | [`PreemptiveThreads::finish`] |
//! | 5 | 2 and then 4: the host code that unwinding calls sees whose it is |
//! | 6 | [`PreemptiveThreads::take_exit`] |
//!
//! Who may touch what:
//!
//! 1. `threads`, `queue` and `running` change only in this file.
//! 2. A `Ready` thread is in `queue` exactly once and its `fiber` is here.
//! 3. At most one thread is `Running`. Its fiber is on the stack of
//!    `dispatch.rs`, which gives it back with arrow 3 or drops it with 4.
//! 4. An id is given out once. The counter is 64 bits wide and never wraps.

use super::exit::{Exit, OwnedExit, Values};
use super::policy::RunQueue;
use super::slice::{Preemption, Slice};
use super::spawn::ThreadOptions;
use crate::Func;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::store::{StoreId, StoreOpaque};
use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use core::marker::PhantomData;
use core::time::Duration;
use std::collections::HashMap;

/// Identifies a guest thread within its store. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(u64);

impl ThreadId {
    /// This id as a number: the first thread of a store is 1, the next 2, and
    /// so on.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a guest thread whose function returns `Results`.
pub struct TypedThreadId<Results> {
    id: ThreadId,
    /// The types are those of this store's thread.
    store: StoreId,
    _results: PhantomData<fn() -> Results>,
}

impl<Results> TypedThreadId<Results> {
    pub(super) fn new(store: StoreId, id: ThreadId) -> Self {
        TypedThreadId {
            id,
            store,
            _results: PhantomData,
        }
    }

    pub(super) fn store(self) -> StoreId {
        self.store
    }

    /// The id without the type of the results.
    pub fn id(self) -> ThreadId {
        self.id
    }
}

impl<Results> Clone for TypedThreadId<Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Results> Copy for TypedThreadId<Results> {}

impl<Results> fmt::Debug for TypedThreadId<Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What a guest thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadState {
    /// Waits for its turn.
    Ready,
    /// Is on the CPU, or called the host function which asks.
    Running,
    /// Has ended, and its exit was not taken yet.
    Finished,
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ThreadState::Ready => "ready",
            ThreadState::Running => "running",
            ThreadState::Finished => "finished",
        })
    }
}

/// What a guest thread has used so far.
///
/// The figures of a thread that is [`ThreadState::Running`] do not include its
/// current dispatch, but for `dispatches`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// Time between a resume and the suspension after it, summed up. This
    /// includes host functions that the thread called.
    pub cpu_time: Duration,
    /// How many times the thread was put on the CPU.
    pub dispatches: u64,
    /// How many of its slices were ended by the preemption source.
    pub preemptions: u64,
    /// Fuel that it used: exact, and independent of how it was interleaved.
    /// Zero where the engine does not count fuel.
    ///
    /// Under [`Preemption::Signal`] it is exact for a thread that has returned. One
    /// that is suspended, was killed or trapped may have used more, by what its
    /// code counts from one call to the next.
    pub fuel_consumed: u64,
}

/// A guest thread as seen from outside: see
/// [`Store::wasm_thread`](crate::Store::wasm_thread).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ThreadInfo<'a> {
    /// Its id.
    pub id: ThreadId,
    /// Its name, if it was given one with [`ThreadOptions::name`].
    pub name: Option<&'a str>,
    /// What it is doing.
    pub state: ThreadState,
    /// What it may use before it is preempted.
    pub slice: Slice,
    /// What it has used.
    pub stats: ThreadStats,
}

/// The part of a store that a store without guest threads does not have.
pub(crate) struct PreemptiveThreads {
    threads: HashMap<ThreadId, Thread, BuildHasherDefault<IdHasher>>,
    queue: RunQueue,
    running: Option<Running>,
    last_id: u64,

    /// The source that ends slices: fixed by the engine.
    pub(super) preemption: Preemption,
    /// The slice of a thread that has none of its own.
    pub(super) slice: Slice,
    /// How many threads may be in `threads`.
    pub(super) limit: usize,
    /// Whether a run or a shutdown is on.
    pub(super) in_run: bool,
    pub(super) epoch: super::epoch::EpochState,
    pub(super) signal: super::signal::SignalState,
}

pub(super) struct Thread {
    /// Boxed, as it moves to the dispatch loop and back.
    fiber: Option<Box<StoreFiber<'static>>>,
    exit: Option<OwnedExit>,
    name: Option<Box<str>>,
    slice: Option<Slice>,
    detached: bool,
    stats: ThreadStats,
    /// The fuel counter that its code may have in a register.
    fuel_held: Option<i64>,
}

/// The thread on the CPU.
pub(super) struct Running {
    pub(super) id: ThreadId,
    pub(super) slice: Slice,
    /// `VMStoreContext::fuel_consumed` when the fuel was last handed out. What
    /// it has grown by since is not in `fuel_consumed` yet.
    pub(super) fuel_armed: i64,
    pub(super) fuel_consumed: u64,
    /// The counter that it had when it went off the CPU, if its code counts on it.
    pub(super) fuel_held: Option<i64>,
    /// Whether it suspended because its slice was over.
    pub(super) preempted: bool,
    /// Whether its code may have had the counter in a register then.
    pub(super) fuel_in_register: bool,
    /// Its function, and what that returned.
    results: Option<(Func, Values)>,
}

impl PreemptiveThreads {
    /// How many threads a store may have until
    /// `Store::wasm_thread_limit` says otherwise.
    const DEFAULT_LIMIT: usize = 10_000;

    pub(super) fn new(preemption: Preemption) -> PreemptiveThreads {
        PreemptiveThreads {
            threads: HashMap::default(),
            queue: RunQueue::default(),
            running: None,
            last_id: 0,
            preemption,
            slice: Slice::default_for(preemption),
            limit: Self::DEFAULT_LIMIT,
            in_run: false,
            epoch: super::epoch::EpochState::default(),
            signal: super::signal::SignalState::default(),
        }
    }

    /// # Errors
    ///
    /// If there is no room for one more thread.
    pub(super) fn ensure_room(&self) -> Result<()> {
        ensure!(
            self.threads.len() < self.limit,
            "cannot spawn a guest thread: the store has {} already, which is its \
             limit; take the exits of finished ones, spawn them as `detached`, or \
             raise the limit with `Store::wasm_thread_limit`",
            self.threads.len(),
        );
        Ok(())
    }

    /// Arrow 1.
    pub(super) fn insert(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        options: ThreadOptions,
    ) -> ThreadId {
        self.last_id += 1;
        let id = ThreadId(self.last_id);
        self.threads.insert(
            id,
            Thread {
                fiber: Some(fiber),
                exit: None,
                name: options.name,
                slice: options.slice,
                detached: options.detached,
                stats: ThreadStats::default(),
                fuel_held: None,
            },
        );
        self.queue.push(id);
        id
    }

    /// Arrow 2. `None` if no thread is ready.
    pub(super) fn start_next(&mut self) -> Option<Box<StoreFiber<'static>>> {
        let id = self.queue.pop()?;
        let thread = self.threads.get_mut(&id)?;
        let fiber = thread.fiber.take()?;
        let slice = thread.slice.unwrap_or(self.slice);
        thread.stats.dispatches += 1;
        self.running = Some(Running {
            id,
            slice,
            fuel_armed: 0,
            fuel_consumed: 0,
            fuel_held: thread.fuel_held.take(),
            preempted: false,
            fuel_in_register: false,
            results: None,
        });
        Some(fiber)
    }

    /// Arrow 3. Returns whether its slice was over.
    pub(super) fn stop_running(
        &mut self,
        fiber: Box<StoreFiber<'static>>,
        fuel_held: Option<i64>,
        time: Duration,
    ) -> bool {
        let Some(running) = self.running.take() else {
            return false;
        };
        if let Some(thread) = self.threads.get_mut(&running.id) {
            thread.fiber = Some(fiber);
            thread.fuel_held = fuel_held;
            thread.stats.cpu_time += time;
            thread.stats.fuel_consumed += running.fuel_consumed;
            thread.stats.preemptions += u64::from(running.preempted);
            self.queue.push(running.id);
        }
        running.preempted
    }

    /// Arrow 4. `None` stands for the values that
    /// the thread's function left in [`Running::results`].
    pub(super) fn finish(&mut self, exit: Option<OwnedExit>, time: Duration) {
        let Some(running) = self.running.take() else {
            return;
        };
        let Some(thread) = self.threads.get_mut(&running.id) else {
            return;
        };
        if thread.detached {
            self.threads.remove(&running.id);
            return;
        }
        thread.stats.cpu_time += time;
        thread.stats.fuel_consumed += running.fuel_consumed;
        thread.exit = exit.or_else(|| {
            let (func, values) = running.results?;
            Some(OwnedExit::Returned(func, values))
        });
    }

    /// Arrow 6.
    pub(super) fn take_exit(&mut self, id: ThreadId) -> Option<OwnedExit> {
        let exit = self.threads.get_mut(&id)?.exit.take()?;
        self.threads.remove(&id);
        Some(exit)
    }

    pub(super) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
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
        !self.queue.is_empty()
    }

    /// Gives one thread a slice of its own, from its next dispatch on.
    pub(super) fn set_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        slice.validate(self.preemption)?;
        match self.threads.get_mut(&id) {
            Some(thread) if thread.exit.is_none() => {
                thread.slice = Some(slice);
                Ok(())
            }
            Some(_) => bail!("guest thread {id} has finished: it gets no more slices"),
            None => bail!(
                "no guest thread {id}: it was never spawned in this store, or its \
                 exit was taken"
            ),
        }
    }

    pub(super) fn get(&self, id: ThreadId) -> Option<ThreadInfo<'_>> {
        Some(self.info(id, self.threads.get(&id)?))
    }

    /// All threads, in the order of their spawning.
    pub(super) fn list(&self) -> impl Iterator<Item = ThreadInfo<'_>> {
        let mut ids: Vec<ThreadId> = self.threads.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.get(id))
    }

    fn info<'a>(&'a self, id: ThreadId, thread: &'a Thread) -> ThreadInfo<'a> {
        ThreadInfo {
            id,
            name: thread.name.as_deref(),
            state: if thread.exit.is_some() {
                ThreadState::Finished
            } else if self.running.as_ref().is_some_and(|r| r.id == id) {
                ThreadState::Running
            } else {
                ThreadState::Ready
            },
            slice: thread.slice.unwrap_or(self.slice),
            stats: thread.stats,
        }
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

impl StoreOpaque {
    /// The guest threads of this store, made on first use.
    ///
    /// # Errors
    ///
    /// If the engine was not configured for them.
    pub(super) fn preemptive_threads(&mut self) -> Result<&mut PreemptiveThreads> {
        let preemption = self.engine().config().preemption;
        match (self.preempt_mut(), preemption) {
            (slot @ None, Some(preemption)) => {
                Ok(slot.insert(Box::new(PreemptiveThreads::new(preemption))))
            }
            (Some(threads), _) => Ok(threads),
            (None, None) => bail!(
                "guest threads need an engine that can preempt them: call \
                 `Config::preemption` with `Preemption::Fuel` or \
                 `Preemption::Epoch`"
            ),
        }
    }

    /// Takes note of what `func`, the running thread's function, returned.
    pub(super) fn set_thread_results(&mut self, func: Func, results: Values) {
        if let Some(running) = self.running_thread_mut() {
            running.results = Some((func, results));
        }
    }

    /// # Errors
    ///
    /// In a guest thread: the OS thread that would be blocked is its siblings' too.
    pub(crate) fn ensure_may_block(&self) -> Result<()> {
        ensure!(
            self.running_thread().is_none(),
            "a guest thread cannot wait for an atomic: that would stop its siblings, who \
             are to notify it; it can spin, as it is preempted"
        );
        Ok(())
    }

    pub(super) fn running_thread(&self) -> Option<&Running> {
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

/// Ids count up from 1, so spreading them over the high bits, which is what the
/// table picks its buckets by, is all the hashing they need.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio: Fibonacci hashing, Knuth, "The Art
        // of Computer Programming", volume 3, section 6.4.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
