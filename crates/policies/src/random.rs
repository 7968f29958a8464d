//! A random thread for a random slice.

use crate::dice::Dice;
use crate::table::{State, Table, is_sparse};
use std::ops::RangeInclusive;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

const STREAM: u128 = 0x7261_6e64_6f6d;

/// Runs a random runnable thread for a random slice, to find races.
///
/// Every time, each runnable thread is equally likely, and so is each slice in the
/// range set by [`slices`](Random::slices). Short slices put preemptions where an
/// even rhythm has none. The only promise is that the same seed and the same calls
/// give the same picks on every machine. A runnable thread is passed over `k` times
/// in a row with a probability of `(1 - 1/n)^k`.
///
/// Cost: O(1) for every operation. All parameters of threads are ignored. Random
/// walks over schedules are the baseline that Thomson, Donaldson and Betts (2014)
/// found hard to beat; [`Pct`](crate::Pct) is the alternative with a bound.
#[derive(Clone, Debug)]
pub struct Random {
    dice: Dice,
    slices: Option<(u64, u64)>,
    /// Each with its index in `ready`, if it is ready.
    threads: Table<usize>,
    ready: Vec<ThreadId>,
}

impl Random {
    /// Draws from the stream of this seed. Slices are the threads' own.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Random {
            dice: Dice::new(seed, STREAM),
            slices: None,
            threads: Table::default(),
            ready: Vec::new(),
        }
    }

    /// Draws slices from this range of ticks, too. A slice of 0 counts as 1, and an
    /// empty range as just its start.
    #[must_use]
    pub fn slices(mut self, ticks: RangeInclusive<u64>) -> Self {
        let min = (*ticks.start()).max(1);
        self.slices = Some((min, min.max(*ticks.end())));
        self
    }

    fn enqueue(&mut self, thread: ThreadId) {
        if let Some((_, index)) = self.threads.get_mut(thread) {
            *index = self.ready.len();
            self.ready.push(thread);
        }
    }

    fn dequeue(&mut self, index: usize) {
        self.ready.swap_remove(index);
        if let Some(&moved) = self.ready.get(index)
            && let Some((_, its_index)) = self.threads.get_mut(moved)
        {
            *its_index = index;
        }
        if is_sparse(self.ready.len(), self.ready.capacity()) {
            self.ready.shrink_to(self.ready.len() * 2);
        }
    }
}

impl ThreadScheduler for Random {
    fn spawned(&mut self, _now: u64, thread: ThreadId, _params: &ThreadParams) {
        if self.threads.spawn(thread, || 0).is_some() {
            self.enqueue(thread);
        }
    }

    fn preempted(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if self.threads.give_back(thread).is_some() {
            self.enqueue(thread);
        }
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        self.preempted(now, thread, used);
    }

    fn parked(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, &mut index)) = self.threads.park(thread) {
            self.dequeue(index);
        }
    }

    fn woken(&mut self, _now: u64, thread: ThreadId) {
        if self.threads.wake(thread).is_some() {
            self.enqueue(thread);
        }
    }

    fn changed(&mut self, _now: u64, _thread: ThreadId, _params: &ThreadParams) {}

    fn finished(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, index)) = self.threads.finish(thread) {
            self.dequeue(index);
        }
    }

    fn next(&mut self, _now: u64) -> Option<Pick> {
        let count = u64::try_from(self.ready.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.dice.below(count)).unwrap_or(0);
        let &thread = self.ready.get(index)?;
        self.dequeue(index);
        self.threads.run(thread)?;
        let slice = self.slices.map(|(min, max)| self.dice.within(min, max));
        Some(Pick { thread, slice })
    }
}
