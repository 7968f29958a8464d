//! A guest thread as it is seen from outside: its id, what it does, what it has used.

use super::limits::ThreadLimits;
use super::park::WaitFor;
use super::slice::Slice;
use crate::store::StoreId;
use core::fmt;
use core::hash::Hasher;
use core::marker::PhantomData;
use core::time::Duration;

/// Identifies a guest thread within its store. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(super) u64);

impl ThreadId {
    /// This id as a number: the first thread of a store is 1, the next 2, and
    /// so on.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of which [`ThreadId::as_u64`] is `id`, for what was written down. There
    /// may be no such thread.
    pub fn from_u64(id: u64) -> ThreadId {
        ThreadId(id)
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
    /// Waits for something: see [`ThreadInfo::waits_for`].
    Parked,
    /// Was suspended, and waits to be resumed, and perhaps for something else.
    Suspended,
    /// Has ended, and its exit was not taken yet.
    Finished,
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ThreadState::Ready => "ready",
            ThreadState::Running => "running",
            ThreadState::Parked => "parked",
            ThreadState::Suspended => "suspended",
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
    /// includes host functions that the thread called, and what the OS ran in between. If
    /// the thread or its group has a limit of CPU time, it is what the OS says that it had
    /// a CPU.
    pub cpu_time: Duration,
    /// Time since it was spawned in which a run was on. What is neither in `cpu_time`
    /// nor in `ready_time`, it was suspended or is waiting.
    pub wall_time: Duration,
    /// How many times the thread was put on the CPU.
    pub dispatches: u64,
    /// How many of its slices were ended by the preemption source.
    pub preemptions: u64,
    /// How many times it gave the CPU up by itself.
    pub yields: u64,
    /// Time that it was ready and waited for its turn while a run was on: of the
    /// waits that have ended.
    pub ready_time: Duration,
    /// The longest of these waits.
    pub longest_wait: Duration,
    /// Fuel that it used, and what host functions have
    /// [charged](crate::Store::set_fuel) it: exact, and independent of how it was interleaved,
    /// for a thread that has returned. One that has trapped may have used more, by some 256
    /// units at most of code without loops or calls, and so may one that was killed or
    /// is suspended where slices are time. Zero where the engine does not count fuel.
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
    /// What it waits for, if it does.
    pub waits_for: Option<WaitFor>,
    /// What it may use before it is preempted.
    pub slice: Slice,
    /// What it may use in all.
    pub limits: ThreadLimits,
    /// What it has used.
    pub stats: ThreadStats,
}

/// Ids count up from 1, so spreading them over the high bits, which is what the
/// table picks its buckets by, is all the hashing they need.
#[derive(Default)]
pub(super) struct IdHasher(u64);

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
