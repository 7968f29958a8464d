//! A guest thread as seen from outside: what it does, what it has used.

use super::id::ThreadId;
use super::limits::ThreadLimits;
use super::park::WaitFor;
use super::slice::Slice;
use core::fmt;
use core::time::Duration;

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

/// A guest thread as seen from outside: see [`ThreadId::info`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ThreadInfo<'a> {
    /// Its id.
    pub id: ThreadId,
    /// Its name, if it was given one with [`ThreadOptions::name`](super::ThreadOptions::name).
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
