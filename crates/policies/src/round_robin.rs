//! Every runnable thread in turn: the reference for all other policies.

use crate::table::{State, Table, is_sparse};
use std::collections::VecDeque;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Runs every runnable thread in turn.
///
/// A thread that is new, woken, preempted or has yielded goes to the back of one
/// queue. So every other thread is dispatched at most once between two dispatches of
/// a runnable thread: with `n` runnable threads that use at most `u` ticks each, none
/// waits longer than `(n - 1) * u`. Weights, priorities, groups and deadlines are
/// ignored. Slices are the threads' own.
///
/// Cost: amortized O(1) for every operation. A thread that is killed or parked while
/// queued leaves its place behind. Such places are dropped when they reach the front,
/// or when they are more than half of the queue.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    /// Each with the number of the queue place that counts for it.
    threads: Table<u64>,
    queue: VecDeque<(u64, ThreadId)>,
    places: u64,
    ready: usize,
}

impl RoundRobin {
    /// A policy without threads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn state(&self, thread: ThreadId) -> Option<State> {
        self.threads.state(thread)
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// Dispatches this thread out of turn, if it is ready.
    pub(crate) fn take(&mut self, thread: ThreadId) -> bool {
        let taken = self.threads.run(thread).is_some();
        if taken {
            self.left_queue();
        }
        taken
    }

    fn enqueue(&mut self, thread: ThreadId) {
        self.queue.push_back((self.places, thread));
        self.places += 1;
        self.ready += 1;
    }

    /// A ready thread has left its place, wherever that is.
    fn left_queue(&mut self) {
        self.ready -= 1;
        if self.ready == 0 {
            self.queue.clear();
        } else if self.queue.len() > 2 * self.ready + 32 {
            let threads = &self.threads;
            self.queue
                .retain(|&(place, thread)| is_current(threads, place, thread));
        }
        if is_sparse(self.queue.len(), self.queue.capacity()) {
            self.queue.shrink_to(self.queue.len() * 2);
        }
    }
}

fn is_current(threads: &Table<u64>, place: u64, thread: ThreadId) -> bool {
    matches!(threads.get(thread), Some((State::Ready, at)) if *at == place)
}

impl ThreadScheduler for RoundRobin {
    fn spawned(&mut self, _now: u64, thread: ThreadId, _params: &ThreadParams) {
        let place = self.places;
        if self.threads.spawn(thread, || place).is_some() {
            self.enqueue(thread);
        }
    }

    fn preempted(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some(place) = self.threads.give_back(thread) {
            *place = self.places;
            self.enqueue(thread);
        }
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.preempted(now, thread, used);
    }

    fn parked(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, _)) = self.threads.park(thread) {
            self.left_queue();
        }
    }

    fn woken(&mut self, _now: u64, thread: ThreadId) {
        if let Some(place) = self.threads.wake(thread) {
            *place = self.places;
            self.enqueue(thread);
        }
    }

    fn changed(&mut self, _now: u64, _thread: ThreadId, _params: &ThreadParams) {}

    fn finished(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, _)) = self.threads.finish(thread) {
            self.left_queue();
        }
    }

    fn next(&mut self, _now: u64) -> Option<Pick> {
        while let Some((place, thread)) = self.queue.pop_front() {
            if is_current(&self.threads, place, thread) && self.take(thread) {
                return Some(Pick {
                    thread,
                    slice: None,
                });
            }
        }
        None
    }
}
