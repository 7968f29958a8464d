//! Earliest deadline first.

use crate::table::{State, Table};
use std::collections::BTreeSet;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Runs the runnable thread with the earliest deadline.
///
/// A thread's work begins when it is spawned or woken. The work should be done, with
/// the thread parked or finished, `ThreadParams::deadline` ticks later. Threads
/// without a deadline are the background: they take turns, but only while no thread
/// with a deadline is runnable.
///
/// # What holds
///
/// On one processor, no order of execution meets deadlines that this one misses.
/// Consider threads that are woken at most once per period, have that period as their
/// deadline, and need at most `c` ticks each time. No deadline is missed as long as
/// the sum of `c / period` is at most 1 (Liu and Layland 1973). More precisely, none
/// is missed by more than one slice, because a thread that becomes runnable does not
/// cut a running thread's slice short: with slices of at most `u` ticks, all work is
/// done at most `u` ticks after its deadline.
///
/// # Overload
///
/// A thread that has missed its deadline still has the earliest one, so it runs until
/// its work is done. With more work than time, deadlines therefore fall like
/// dominoes, and which ones are met is unpredictable. A thread with a deadline that
/// never parks starves the background, and in the end everyone else. If that can
/// happen, use [`WeightedFair`](crate::WeightedFair).
///
/// # Yielding
///
/// A thread that yields is passed over until another one has used its slice, parked
/// or finished, or until all runnable threads have yielded. Otherwise it would be
/// picked again at once, and what it waits for would never happen.
///
/// Cost: O(log n) for every operation; amortized if many threads yield. Weights,
/// priorities and groups are ignored. Slices are the threads' own.
#[derive(Clone, Debug, Default)]
pub struct EarliestDeadlineFirst {
    turns: u64,
    threads: Table<Thread>,
    ready: BTreeSet<Place>,
    /// Ready threads that have yielded and are passed over. The others are in
    /// `ready`.
    passed: BTreeSet<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    relative: Option<u64>,
    /// When the current work began.
    began: u64,
    turn: u64,
}

/// In dispatch order: threads with a deadline first, then by turn.
type Place = (bool, u64, u64, ThreadId);

impl Thread {
    fn place(&self, thread: ThreadId) -> Place {
        let deadline = self.relative.map(|ticks| self.began.saturating_add(ticks));
        (deadline.is_none(), deadline.unwrap_or(0), self.turn, thread)
    }
}

impl EarliestDeadlineFirst {
    /// A policy without threads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The turn of a thread that goes behind its equals.
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    fn dequeue(&mut self, place: &Place) {
        if !self.ready.remove(place) {
            self.passed.remove(place);
        }
    }

    /// A thread had a turn and did more than yield. Every thread moved here has paid
    /// for the move with a yield.
    fn recall(&mut self) {
        if self.passed.len() > self.ready.len() {
            std::mem::swap(&mut self.ready, &mut self.passed);
        }
        while let Some(place) = self.passed.pop_first() {
            self.ready.insert(place);
        }
    }
}

impl ThreadScheduler for EarliestDeadlineFirst {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        let turn = self.turn();
        let new = || Thread {
            relative: params.deadline,
            began: now,
            turn,
        };
        if let Some(at) = self.threads.spawn(thread, new) {
            self.ready.insert(at.place(thread));
        }
    }

    fn preempted(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        let turn = self.turn();
        if let Some(at) = self.threads.give_back(thread) {
            at.turn = turn;
            self.ready.insert(at.place(thread));
            self.recall();
        }
    }

    fn yielded(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        let turn = self.turn();
        if let Some(at) = self.threads.give_back(thread) {
            at.turn = turn;
            self.passed.insert(at.place(thread));
        }
    }

    fn parked(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        match self.threads.park(thread) {
            Some((State::Ready, at)) => {
                let place = at.place(thread);
                self.dequeue(&place);
            }
            Some(_) => self.recall(),
            None => {}
        }
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        let turn = self.turn();
        if let Some(at) = self.threads.wake(thread) {
            at.began = now;
            at.turn = turn;
            self.ready.insert(at.place(thread));
        }
    }

    /// A new deadline counts from when the current work began.
    fn changed(&mut self, _now: u64, thread: ThreadId, params: &ThreadParams) {
        let Some((state, at)) = self.threads.get_mut(thread) else {
            return;
        };
        let old = at.place(thread);
        at.relative = params.deadline;
        let new = at.place(thread);
        if state == State::Ready {
            let queue = if self.ready.remove(&old) {
                &mut self.ready
            } else {
                self.passed.remove(&old);
                &mut self.passed
            };
            queue.insert(new);
        }
    }

    fn finished(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        match self.threads.finish(thread) {
            Some((State::Ready, at)) => self.dequeue(&at.place(thread)),
            Some((State::Running, _)) => self.recall(),
            _ => {}
        }
    }

    fn next(&mut self, _now: u64) -> Option<Pick> {
        if self.ready.is_empty() {
            std::mem::swap(&mut self.ready, &mut self.passed);
        }
        let (_, _, _, thread) = self.ready.pop_first()?;
        self.threads.run(thread)?;
        Some(Pick {
            thread,
            slice: None,
        })
    }
}
