//! A guest thread as seen from outside: what it is doing and what it has used.

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
    /// Waiting for the CPU.
    Ready,
    /// On the CPU, or in the host function that is asking.
    Running,
    /// Waiting for something: see [`ThreadInfo::waits_for`].
    Parked,
    /// Suspended until it is resumed. It may be waiting for something as well.
    Suspended,
    /// Ended, but its exit has not been taken yet.
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
/// For a thread that is [`ThreadState::Running`], only `dispatches` includes the current
/// dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// Total time from going on the CPU to going off it. This includes host functions that the
    /// thread called, and whatever the OS ran meanwhile. If the thread or its group has a CPU
    /// time limit or a CPU rate, or the thread a tenant, it is the CPU time that the OS reports
    /// instead. A limit of [`Duration::MAX`] has this effect and no other.
    pub cpu_time: Duration,
    /// Time spent in runs since it was spawned. What is in neither `cpu_time` nor `ready_time`
    /// is time parked or suspended, and its current wait.
    pub wall_time: Duration,
    /// How many times the thread was put on the CPU.
    pub dispatches: u64,
    /// How many of its slices the preemption source ended.
    pub preemptions: u64,
    /// How many times it gave up the CPU by itself.
    pub yields: u64,
    /// Time spent ready and waiting for the CPU during runs. Counts only waits that have ended.
    pub ready_time: Duration,
    /// The longest of these waits.
    pub longest_wait: Duration,
    /// Fuel that it used, and that host functions have [charged](crate::Store::set_fuel) it. For
    /// a thread that has returned, this is exact and independent of interleaving. One that has
    /// trapped may have used more, by at most some 256 units of code without loops or calls.
    /// Where slices are time, so may one that was killed or is off the CPU. Zero if the engine
    /// does not count fuel.
    pub fuel_consumed: u64,
    /// How many times it was throttled, as its [rate](super::ThreadLimits::cpu_rate), its group's or
    /// its tenant's left it no time on the CPU.
    pub throttles: u64,
    /// Time spent throttled during runs. Counts only waits that have ended.
    pub throttled_time: Duration,
}

/// A guest thread as seen from outside: see [`ThreadId::info`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ThreadInfo<'a> {
    /// Its id.
    pub id: ThreadId,
    /// Its name, if [`ThreadOptions::name`](super::ThreadOptions::name) gave it one.
    pub name: Option<&'a str>,
    /// What it is doing.
    pub state: ThreadState,
    /// What it waits for, if anything.
    pub waits_for: Option<WaitFor>,
    /// What it may use before it is preempted.
    pub slice: Slice,
    /// What it may use in total.
    pub limits: ThreadLimits,
    /// What it has used.
    pub stats: ThreadStats,
}
