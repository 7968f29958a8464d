//! Probabilistic concurrency testing.

use crate::dice::Dice;
use crate::table::{State, Table};
use std::collections::BTreeSet;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

const STREAM: u128 = 0x70_6374;

/// More than any known bug needs.
const MAX_DEPTH: u32 = 1024;

/// Finds a race of depth `d` with a known probability in each run.
///
/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and Nagarakatte
/// 2010), with a dispatch as the step. Threads have random priorities, and the
/// highest runnable one runs. At `d - 1` random steps, the thread that would run
/// instead gets a priority below all random ones. A bug of depth `d` is one that
/// shows when `d` events happen in one particular order; most bugs need 1 to 3. If
/// the bug needs preemption only at the end of a slice, a run finds it with a
/// probability of at least `1 / (threads * steps^(d - 1))`; see
/// [`one_in`](Pct::one_in). So run it with many seeds, and with slices so short that
/// the events fall into different ones.
///
/// There are two additions, since guests may spin until another thread has done
/// something. A thread that yields goes below all others. After `steps` dispatches,
/// so does every thread that is preempted: from then on it is round robin, and the
/// guests come to an end.
///
/// The same seed and the same calls give the same picks on every machine. Cost: O(log
/// n) for every operation. All parameters of threads are ignored. Slices are the
/// threads' own.
#[derive(Clone, Debug)]
pub struct Pct {
    dice: Dice,
    expected_threads: u64,
    steps: u64,
    step: u64,
    depth: u32,
    /// The steps at which a thread is lowered, and the rank it then gets; the next
    /// one last.
    changes: Vec<(u64, Rank)>,
    /// How many threads have been put below all others.
    lowered: u64,
    threads: Table<Rank>,
    /// Highest rank last.
    ready: BTreeSet<(Rank, ThreadId)>,
}

/// The greatest rank runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Gave way: the later, the lower.
    Bottom(std::cmp::Reverse<u64>),
    /// Lowered at the change point with this number.
    Changed(u32),
    Drawn(u64),
}

impl Pct {
    /// For about this many threads, about this many dispatches in all, and bugs of
    /// this depth (1 to 1024). Numbers twice too high do no harm, but make bugs less
    /// likely to be hit.
    #[must_use]
    pub fn new(seed: u64, threads: u64, steps: u64, depth: u32) -> Self {
        let mut dice = Dice::new(seed, STREAM);
        let steps = steps.max(1);
        let depth = depth.clamp(1, MAX_DEPTH);
        let mut changes: Vec<_> = (1..depth)
            .map(|number| (dice.within(1, steps), Rank::Changed(number)))
            .collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Pct {
            dice,
            expected_threads: threads.max(1),
            steps,
            step: 0,
            depth,
            changes,
            lowered: 0,
            threads: Table::default(),
            ready: BTreeSet::new(),
        }
    }

    /// On average, at least one in this many runs finds a bug of the requested depth.
    #[must_use]
    pub fn one_in(&self) -> u128 {
        u128::from(self.steps)
            .saturating_pow(self.depth - 1)
            .saturating_mul(u128::from(self.expected_threads))
    }

    fn bottom(&mut self) -> Rank {
        self.lowered += 1;
        Rank::Bottom(std::cmp::Reverse(self.lowered))
    }
}

impl ThreadScheduler for Pct {
    fn spawned(&mut self, _now: u64, thread: ThreadId, _params: &ThreadParams) {
        let dice = &mut self.dice;
        if let Some(&mut rank) = self.threads.spawn(thread, || Rank::Drawn(dice.any())) {
            self.ready.insert((rank, thread));
        }
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        if self.step > self.steps {
            return self.yielded(now, thread, used);
        }
        if let Some(&mut rank) = self.threads.give_back(thread) {
            self.ready.insert((rank, thread));
        }
    }

    fn yielded(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        let bottom = self.bottom();
        if let Some(rank) = self.threads.give_back(thread) {
            *rank = bottom;
            self.ready.insert((bottom, thread));
        }
    }

    fn parked(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, &mut rank)) = self.threads.park(thread) {
            self.ready.remove(&(rank, thread));
        }
    }

    fn woken(&mut self, _now: u64, thread: ThreadId) {
        if let Some(&mut rank) = self.threads.wake(thread) {
            self.ready.insert((rank, thread));
        }
    }

    fn changed(&mut self, _now: u64, _thread: ThreadId, _params: &ThreadParams) {}

    fn finished(&mut self, _now: u64, thread: ThreadId, _used: u64) {
        if let Some((State::Ready, rank)) = self.threads.finish(thread) {
            self.ready.remove(&(rank, thread));
        }
    }

    fn next(&mut self, _now: u64) -> Option<Pick> {
        if self.ready.is_empty() {
            return None;
        }
        self.step = self.step.saturating_add(1);
        while let Some((_, lower)) = self.changes.pop_if(|(step, _)| *step <= self.step) {
            let (_, thread) = self.ready.pop_last()?;
            if let Some((_, rank)) = self.threads.get_mut(thread) {
                *rank = lower;
            }
            self.ready.insert((lower, thread));
        }
        let (_, thread) = self.ready.pop_last()?;
        self.threads.run(thread)?;
        Some(Pick {
            thread,
            slice: None,
        })
    }
}
