//! Proves that a schedule kept its promises, or reports every violation.
//!
//! The checker follows each thread through the states of the scheduler, from
//! the trace alone, and shares no code with the scheduler:
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
//! 2. A slice takes no longer than it was given, and a tolerance, if another thread
//!    is ready: or, if one becomes ready after its end, no longer than until then.
//! 3. At most one thread is on the CPU.
//! 4. Only a ready thread is dispatched, and only within a run.
//! 5. Each event is one that can happen to a thread in its state: so none is
//!    spawned twice, none appears from nowhere, and none does anything after it
//!    finished.
//! 6. No thread is lost: when a run ends, none is on the CPU; and if
//!    [asked](Checker::all_finished), at the end of the trace each is finished.
//! 7. The [`Order`] of dispatches is the policy's, if one is given.
//!
//! Where older events are [lost](wasmtime::Trace::lost), a thread's state, the
//! CPU's and the run's are unknown until an event tells, and an event is a
//! violation only if no beginning explains it.
//!
//! What no checker can see: a thread that was killed and never ran has the same
//! trace as one that still waits, if that event is missing, so long as nobody
//! says that all have finished.

mod follow;
mod order;
mod report;

pub use order::{Order, OrderRule};
pub use report::{Report, State, Violation, Wrong};

use follow::follow;
use order::{Priorities, RoundRobin};
use wasmtime::Trace;

/// What to check of a trace.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    tolerance: u64,
    order: Option<Order>,
    all_finished: bool,
}

impl Checker {
    /// A checker that allows no slice to be a tick too long, knows no order,
    /// and takes a trace that ends while threads are unfinished.
    pub fn new() -> Self {
        Checker::default()
    }

    /// Allows slices to be longer by so many ticks than they were dispatched
    /// for: a preemption comes at the next safe point, or when the host's timer
    /// fires. A thread that has the CPU to itself has no end of its slice.
    pub fn tolerance(mut self, ticks: u64) -> Self {
        self.tolerance = ticks;
        self
    }

    /// Checks which thread is dispatched when several are ready.
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// Whether at the end of the trace no run may be on, and each thread must
    /// have finished.
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

    /// Checks `trace`, and that its order is `rule`'s in place of the
    /// [`Order`] given.
    pub fn check_with(&self, trace: &Trace, rule: &mut dyn OrderRule) -> Report {
        follow(self, trace, Some(rule))
    }
}
