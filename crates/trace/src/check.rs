//! Proves that a schedule kept its promises, or reports every violation.
//!
//! The checker follows each thread through the scheduler's states, using only the
//! trace. It shares no code with the scheduler:
//!
//! ```text
//!  spawned --> Ready --dispatched--> Running --> returned
//!               ^ ^                   |   |
//!               | +-preempted,yielded-+   | parked
//!               |                         v
//!               +------- woken ------- Parked
//!
//!  Ready --parked--> Parked     any of the three --trapped, killed, over-limit--> finished
//! ```
//!
//! What it checks, by number:
//!
//! 1. Time never goes back.
//! 2. A slice lasts no longer than it was given, or until another thread is ready if
//!    that is later, plus a tolerance.
//! 3. At most one thread is on the CPU.
//! 4. Only a ready thread is dispatched, and only within a run.
//! 5. Each event can happen to a thread in its state: no thread is spawned twice,
//!    appears from nowhere, or does anything after it finished.
//! 6. No thread is lost: when a run ends, no thread is on the CPU. If
//!    [asked](Checker::all_finished), every thread must be finished at the end of the
//!    trace.
//! 7. The [`Order`] of dispatches is the policy's, if one is given.
//!
//! If older events are [lost](wasmtime::preempt::Trace::lost), the states of a thread, the CPU
//! and the run are unknown until an event tells. An event is a violation only if no
//! possible beginning explains it.
//!
//! What no checker can see: if its kill event is missing, a thread that was killed
//! before it ever ran leaves the same trace as one that is still waiting, unless all
//! threads are said to have finished.

mod follow;
mod order;
mod report;

pub use order::{Order, OrderRule};
pub use report::{Report, State, Violation, Wrong};

use follow::follow;
use order::{Priorities, RoundRobin};
use wasmtime::preempt::Trace;

/// What to check in a trace.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    tolerance: u64,
    order: Option<Order>,
    all_finished: bool,
}

impl Checker {
    /// A checker with no tolerance for long slices and no order, which accepts traces
    /// that end while threads are unfinished.
    pub fn new() -> Self {
        Checker::default()
    }

    /// Allows slices to be this many ticks longer than they were dispatched for,
    /// because preemption takes effect at the next safe point or when the host's
    /// timer fires. A thread that has the CPU to itself has no end of its slice.
    pub fn tolerance(mut self, ticks: u64) -> Self {
        self.tolerance = ticks;
        self
    }

    /// Also checks which thread is dispatched when several are ready.
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// Whether no run may be in progress and every thread must have finished at the
    /// end of the trace.
    pub fn all_finished(mut self, must: bool) -> Self {
        self.all_finished = must;
        self
    }

    /// Checks `trace`.
    pub fn check(&self, trace: &Trace) -> Report {
        match &self.order {
            None => follow(self, trace, None),
            Some(Order::RoundRobin) => follow(self, trace, Some(&mut RoundRobin::default())),
            Some(Order::Priorities(map)) => {
                follow(self, trace, Some(&mut Priorities::new(map.clone())))
            }
        }
    }

    /// Checks `trace` against the order of `rule` instead of the given [`Order`].
    pub fn check_with(&self, trace: &Trace, rule: &mut dyn OrderRule) -> Report {
        follow(self, trace, Some(rule))
    }
}
