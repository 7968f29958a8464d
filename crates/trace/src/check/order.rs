//! Which of several ready threads must be dispatched.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasmtime::ThreadId;
use wasmtime::preempt::Traced;

/// The order of a policy of this project.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// First ready, first dispatched.
    ///
    /// In a trace that lost its beginning, threads that have been ready since before
    /// it are exempt, because their places are unknown.
    RoundRobin,
    /// No thread is dispatched while one with a greater number is ready. A thread not
    /// in the map has priority 0. Equals may go in any order.
    Priorities(BTreeMap<ThreadId, i64>),
}

/// A custom order, for [`Checker::check_with`](super::Checker::check_with).
///
/// The checker reports every event that makes a thread ready or not ready, even a
/// wrong one.
pub trait OrderRule {
    /// `thread` is ready. `why` says how: spawned, preempted, paused, woken or
    /// yielded.
    fn ready(&mut self, thread: ThreadId, why: Traced);

    /// `thread` is parked or finished. It may have been neither ready nor running
    /// before.
    fn gone(&mut self, thread: ThreadId);

    /// `thread` is dispatched, and so no longer ready. Returns the thread whose turn
    /// it was, if that is another one.
    fn dispatched(&mut self, thread: ThreadId) -> Option<ThreadId>;
}

/// A queue from which any thread can be taken.
#[derive(Default)]
pub struct RoundRobin {
    places: HashMap<ThreadId, i128>,
    queue: BTreeMap<i128, ThreadId>,
    next: u64,
}

impl OrderRule for RoundRobin {
    fn ready(&mut self, thread: ThreadId, why: Traced) {
        self.gone(thread);
        let place = match why {
            // Resumes its slice before anybody else: the head of the queue.
            Traced::Paused => i128::MIN,
            _ => i128::from(self.next),
        };
        self.places.insert(thread, place);
        self.queue.insert(place, thread);
        self.next += 1;
    }

    fn gone(&mut self, thread: ThreadId) {
        if let Some(place) = self.places.remove(&thread) {
            self.queue.remove(&place);
        }
    }

    fn dispatched(&mut self, thread: ThreadId) -> Option<ThreadId> {
        let known = self.places.contains_key(&thread);
        let first = self.queue.first_key_value().map(|(_, first)| *first);
        self.gone(thread);
        first.filter(|first| known && *first != thread)
    }
}

/// The ready threads by priority, greatest first.
pub struct Priorities {
    priorities: BTreeMap<ThreadId, i64>,
    ready: BTreeSet<(Reverse<i64>, ThreadId)>,
    paused: Option<ThreadId>,
}

impl Priorities {
    pub fn new(priorities: BTreeMap<ThreadId, i64>) -> Self {
        Priorities {
            priorities,
            ready: BTreeSet::new(),
            paused: None,
        }
    }

    fn key(&self, thread: ThreadId) -> (Reverse<i64>, ThreadId) {
        let priority = self.priorities.get(&thread);
        (Reverse(priority.copied().unwrap_or(0)), thread)
    }
}

impl OrderRule for Priorities {
    fn ready(&mut self, thread: ThreadId, why: Traced) {
        // Threads that arrived meanwhile are not due before its slice is over.
        if why == Traced::Paused {
            self.paused = Some(thread);
        }
        self.ready.insert(self.key(thread));
    }

    fn gone(&mut self, thread: ThreadId) {
        self.ready.remove(&self.key(thread));
    }

    fn dispatched(&mut self, thread: ThreadId) -> Option<ThreadId> {
        let own = self.key(thread);
        self.ready.remove(&own);
        if self.paused.take() == Some(thread) {
            return None;
        }
        let (greatest, first) = self.ready.first()?;
        (*greatest < own.0).then_some(*first)
    }
}
