//! What a check found.

use crate::names::shown;
use crate::ticks::Ticks;
use std::fmt;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// What a check found.
///
/// `Display` writes it for human readers: a line of numbers, then a line per
/// violation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many events the trace holds.
    pub events: usize,
    /// How many of them are dispatches.
    pub dispatches: usize,
    /// How many threads they involve.
    pub threads: usize,
    /// The longest time on the CPU after one dispatch, in ticks.
    pub longest_slice: u64,
    /// The longest time from ready to dispatched, in ticks. Counts only time during
    /// runs, since nothing can be dispatched between them.
    pub longest_wait: u64,
    /// What is wrong, in trace order.
    pub violations: Vec<Violation>,
    fuel: bool,
    lost: u64,
}

impl Report {
    pub(super) fn new(trace: &Trace) -> Self {
        Report {
            events: trace.events.len(),
            dispatches: 0,
            threads: 0,
            longest_slice: 0,
            longest_wait: 0,
            violations: Vec::new(),
            fuel: trace.fuel,
            lost: trace.lost,
        }
    }

    pub(super) fn add(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = |ticks| Ticks {
            ticks,
            fuel: self.fuel,
        };
        write!(
            f,
            "{} events, {} dispatches, {} threads; longest slice {}, longest wait {}; ",
            self.events,
            self.dispatches,
            self.threads,
            ticks(self.longest_slice),
            ticks(self.longest_wait),
        )?;
        if self.lost > 0 {
            write!(f, "{} older events are lost; ", self.lost)?;
        }
        match self.violations.len() {
            0 => write!(f, "no violation"),
            1 => write!(f, "1 violation:"),
            n => write!(f, "{n} violations:"),
        }?;
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}

/// Something that must not occur in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The event at which it shows, counted from 0; at the end of the trace, the
    /// number of events.
    pub index: usize,
    /// When, in ticks of the store's clock.
    pub at: u64,
    /// The thread it concerns; 0 if none.
    pub thread: ThreadId,
    /// What is wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} at {}: ", self.index, self.at)?;
        if self.thread.as_u64() != 0 {
            write!(f, "thread {} ", self.thread)?;
        }
        self.wrong.fmt(f)
    }
}

/// What is wrong. Times are in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// The event is older than the one before it.
    TimeWentBack {
        /// The time of the event before it.
        before: u64,
    },
    /// A thread was on the CPU for longer than it was dispatched for, while another
    /// one waited.
    SliceTooLong {
        /// How long it was on the CPU.
        used: u64,
        /// Its slice, or the time nobody waited if longer, plus the tolerance.
        allowed: u64,
    },
    /// A thread is dispatched while another is on the CPU.
    TwoOnCpu {
        /// The other one.
        other: ThreadId,
    },
    /// A thread is dispatched while it is not ready.
    NotReady {
        /// Its state.
        state: State,
    },
    /// A thread is dispatched outside a run.
    OutsideRun,
    /// A thread is dispatched before another one whose turn it was.
    OutOfOrder {
        /// The other one.
        due: ThreadId,
    },
    /// Something happens to a thread that was never spawned.
    NeverSpawned,
    /// A thread is spawned with an id that is or was another's.
    SpawnedTwice,
    /// An event happens that cannot happen to a thread in this state.
    Impossible {
        /// Its state.
        state: State,
        /// What happens.
        what: Traced,
    },
    /// A thread's event does not say which thread it is.
    NoThread,
    /// A run starts or ends while a thread is on the CPU.
    OnCpuBetweenRuns,
    /// A run starts during another one.
    RunWithinRun,
    /// A run ends outside a run.
    NoRunToEnd,
    /// The trace ends during a run. Reported only if all must have finished.
    RunNotEnded,
    /// The trace ends before a thread has finished. Reported only if all must have.
    NotFinished {
        /// Its state.
        state: State,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::TimeWentBack { before } => {
                write!(f, "is earlier than the event before it, at {before}")
            }
            Wrong::SliceTooLong { used, allowed } => {
                write!(
                    f,
                    "was on the CPU for {used} ticks, and {allowed} are allowed"
                )
            }
            Wrong::TwoOnCpu { other } => {
                write!(f, "is dispatched while thread {other} is on the CPU")
            }
            Wrong::NotReady { state } => write!(f, "is dispatched and {state}, not ready"),
            Wrong::OutsideRun => f.write_str("is dispatched while no run is on"),
            Wrong::OutOfOrder { due } => {
                write!(f, "is dispatched and it was the turn of thread {due}")
            }
            Wrong::NeverSpawned => f.write_str("was never spawned"),
            Wrong::SpawnedTwice => f.write_str("is spawned a second time"),
            Wrong::Impossible { state, what } => {
                write!(f, "is {state} and cannot be {}", shown(*what))
            }
            Wrong::NoThread => f.write_str("an event of a thread names none"),
            Wrong::OnCpuBetweenRuns => f.write_str("is on the CPU where a run starts or ends"),
            Wrong::RunWithinRun => f.write_str("a run starts within a run"),
            Wrong::NoRunToEnd => f.write_str("a run ends and none is on"),
            Wrong::RunNotEnded => f.write_str("the trace ends within a run"),
            Wrong::NotFinished { state } => {
                write!(f, "is {state} at the end and has not finished")
            }
        }
    }
}

/// What a thread is doing, as far as its events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for the CPU.
    Ready,
    /// On the CPU.
    Running,
    /// Waiting for something else.
    Parked,
    /// Returned, trapped, killed or over its limit.
    Finished,
    /// The events that would tell are lost, or contradict each other.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Ready => "ready",
            State::Running => "on the CPU",
            State::Parked => "parked",
            State::Finished => "finished",
            State::Unknown => "in an unknown state",
        })
    }
}
