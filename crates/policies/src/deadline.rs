//! Earliest deadline first.

use crate::table::{State, Table};
use std::collections::BTreeSet;
use wasmtime::{Pick, ThreadId, ThreadParams, ThreadScheduler};

/// The runnable thread whose deadline is earliest runs.
///
/// A thread's work begins when it is spawned or woken, and should be done, so
/// that it is parked or finished, `ThreadParams::deadline` ticks later. Threads
/// without a deadline are the background: they take turns while no thread with
/// a deadline is runnable, and at no other time.
///
/// # What holds
///
/// On one processor no order of execution meets deadlines that this one misses.
/// For threads that are woken at most once per period, have that period as their
/// deadline, and need at most `c` ticks each time, no deadline is missed as long
/// as the sum of `c / period` is at most 1 (Liu and Layland 1973): by no more
/// than one slice, that is, for a thread that becomes runnable does not cut a
/// running thread's slice short. With slices of at most `u` ticks, all work is
/// done `u` ticks after its deadline at the latest.
///
/// # Overload
///
/// A thread whose deadline is over goes on being earliest: it is run until its
/// work is done. So with more work than time, deadlines fall like dominoes, and
/// which ones are met cannot be foretold; a thread with a deadline that never
/// parks keeps the background, and in the end all others, from running. Where
/// such threads may occur, use [`WeightedFair`](crate::WeightedFair).
///
/// # Yielding
///
/// A thread that yields is passed over until another one has used its slice,
/// parked or finished, or all runnable threads have yielded. Otherwise it would be
/// picked again at once, and never see done what it waits for.
///
/// Cost: O(log n) for every operation; amortized, where many threads yield.
/// Weights, priorities and groups are ignored, and slices are the threads' own.
#[derive(Clone, Debug, Default)]
pub struct EarliestDeadlineFirst {
    turns: u64,
    threads: Table<Thread>,
    ready: BTreeSet<Place>,
    /// Those that have yielded and are passed over. The other ready threads are in
    /// `ready`.
    passed: BTreeSet<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    relative: Option<u64>,
    /// When the present work began.
    began: u64,
    turn: u64,
}

/// In the order of dispatch: those with a deadline first, then by turn.
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

    /// The number of a thread that takes its place behind its equals.
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    fn dequeue(&mut self, place: &Place) {
        if !self.ready.remove(place) {
            self.passed.remove(place);
        }
    }

    /// Somebody has had a turn and not merely yielded. Every thread that is moved
    /// here has paid for it by a yield.
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

    /// A new deadline counts from when the present work began.
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
