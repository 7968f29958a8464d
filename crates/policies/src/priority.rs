//! Strict priorities, with aging against starvation.

use crate::table::{State, Table};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Runs the runnable thread of the highest priority. Threads of equal priority take
/// turns.
///
/// Aging keeps the others from starving: a runnable thread that has waited longer
/// than the *patience* runs for one slice, whatever its priority. Then it starts
/// waiting anew. The thread that has waited longest goes first. At most every second
/// dispatch is given away like this, so high priorities keep half of the machine,
/// however many threads of low priority there are.
///
/// What holds, with `n` runnable threads that use at most `u` ticks each:
///
/// - no runnable thread waits longer than `patience + 2 * n * u`;
/// - while no thread has waited longer than the patience, the thread picked is one of
///   the highest runnable priority, and of those the one that has waited longest.
///
/// A thread that becomes runnable does not cut a running thread's slice short. Cost:
/// O(log n) for every operation. Weights, groups and deadlines are ignored. Slices
/// are the threads' own.
///
/// Fixed priorities with round robin are `SCHED_RR` of POSIX.1b (1993); aging is
/// common practice in multilevel queues.
#[derive(Clone, Debug)]
pub struct Priority {
    patience: Option<u64>,
    /// No earlier than any time reported so far: time does not go back here.
    now: u64,
    turns: u64,
    /// Whether the last dispatch was given to an overdue thread.
    aged: bool,
    threads: Table<Thread>,
    /// Highest priority first, then by turn.
    ready: BTreeSet<(Reverse<i32>, u64, ThreadId)>,
    /// The same threads, longest waiting first.
    waiting: BTreeSet<(u64, u64, ThreadId)>,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    priority: i32,
    turn: u64,
    ready_since: u64,
}

impl Priority {
    /// Threads that have waited longer than `patience` ticks get a slice.
    #[must_use]
    pub fn new(patience: u64) -> Self {
        Priority {
            patience: Some(patience),
            ..Self::strict()
        }
    }

    /// No aging: a thread may wait forever.
    #[must_use]
    pub fn strict() -> Self {
        Priority {
            patience: None,
            now: 0,
            turns: 0,
            aged: false,
            threads: Table::default(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn tick(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// A thread becomes ready.
    fn enqueue(&mut self, thread: ThreadId) {
        if let Some((_, at)) = self.threads.get_mut(thread) {
            at.turn = self.turns;
            at.ready_since = self.now;
            self.turns += 1;
            self.ready.insert((Reverse(at.priority), at.turn, thread));
            self.waiting.insert((at.ready_since, at.turn, thread));
        }
    }

    fn dequeue(&mut self, thread: ThreadId, at: Thread) {
        self.ready.remove(&(Reverse(at.priority), at.turn, thread));
        self.waiting.remove(&(at.ready_since, at.turn, thread));
    }

    /// The most overdue thread, if an overdue thread may go now.
    fn overdue(&self) -> Option<ThreadId> {
        let &(since, _, thread) = self.waiting.first()?;
        let overdue = self.now - since > self.patience?;
        (overdue && !self.aged).then_some(thread)
    }
}

impl ThreadScheduler for Priority {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.tick(now);
        let new = || Thread {
            priority: params.priority,
            turn: 0,
            ready_since: 0,
        };
        if self.threads.spawn(thread, new).is_some() {
            self.enqueue(thread);
        }
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.tick(now);
        if self.threads.give_back(thread).is_some() {
            self.enqueue(thread);
        }
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.preempted(now, thread, used);
    }

    fn parked(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.tick(now);
        if let Some((State::Ready, &mut at)) = self.threads.park(thread) {
            self.dequeue(thread, at);
        }
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        self.tick(now);
        if self.threads.wake(thread).is_some() {
            self.enqueue(thread);
        }
    }

    /// A ready thread with a new priority goes behind its new equals. Its waiting
    /// time is kept.
    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        self.tick(now);
        let Some((state, at)) = self.threads.get_mut(thread) else {
            return;
        };
        if at.priority == params.priority {
            return;
        }
        let old = *at;
        at.priority = params.priority;
        if state == State::Ready {
            at.turn = self.turns;
            self.turns += 1;
            let new = *at;
            self.dequeue(thread, old);
            self.ready.insert((Reverse(new.priority), new.turn, thread));
            self.waiting.insert((new.ready_since, new.turn, thread));
        }
    }

    fn finished(&mut self, now: u64, thread: ThreadId, _used: u64) {
        self.tick(now);
        if let Some((State::Ready, at)) = self.threads.finish(thread) {
            self.dequeue(thread, at);
        }
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        self.tick(now);
        let overdue = self.overdue();
        let thread = match overdue {
            Some(thread) => thread,
            None => self.ready.first()?.2,
        };
        self.aged = overdue.is_some();
        let at = *self.threads.run(thread)?;
        self.dequeue(thread, at);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}
