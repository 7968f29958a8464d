//! The budget of a poll: how long a run as a future runs guests before others have their turn.
//!
//! An executor polls its tasks in turn. So a run's budget decides its share, and the sum of all
//! budgets how long a round takes. A round is [`LATENCY`], or longer if budgets would be shorter
//! than [`GRANULARITY`]: the executor gets round to each run, and to all its other work, in that
//! time. CFS divides its latency among runnable tasks the same way, down to a minimum
//! granularity (Molnar, Linux 2.6.23).
//!
//! A run's part of the round is that of its [`CpuShare`], divided by how many runs have that. A
//! part that is too short is saved up: the run skips rounds. What a poll took too long is owed.
//! This is deficit round robin (Shreedhar and Varghese, "Efficient fair queueing using deficit
//! round-robin", 1995).
//!
//! Runs are counted where they become busy, that is, have something to do, or cease to be. Each
//! OS thread counts in a cell of its own, and adds up all cells once a millisecond at most. A run
//! that stays busy writes nothing.

use super::clock::{Moment, nanos};
use crate::prelude::*;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

/// The time in which every busy run on one OS thread gets its part.
const LATENCY: Duration = Duration::from_millis(10);

/// The shortest budget of a poll.
const GRANULARITY: Duration = Duration::from_micros(100);

/// For how long an OS thread goes by the same sums.
const FRESH: u64 = 1_000_000;

/// The most that a run owes. A host function may take any time.
const MOST_DEBT: i64 = 1_000_000_000;

const MOST_WEIGHT: u32 = 1_000_000;

/// What runs as futures get of the CPU, relative to others that the same executor has: see
/// [`RunWasmThreads::share`](super::RunWasmThreads::share). Clones are the same share: a tenant
/// with many stores has one for all of them.
#[derive(Clone)]
pub struct CpuShare(Arc<Shared>);

/// In a cache line of its own.
#[repr(align(128))]
struct Shared {
    weight: u32,
    /// How many of its runs are busy.
    busy: AtomicU64,
}

impl CpuShare {
    /// A share of this weight. A run without a share has one of weight 1 to itself.
    ///
    /// # Errors
    ///
    /// If the weight is not from 1 to 1,000,000.
    pub fn new(weight: u32) -> Result<CpuShare> {
        ensure!(
            (1..=MOST_WEIGHT).contains(&weight),
            "a share's weight of {weight}: it must be from 1 to {MOST_WEIGHT}"
        );
        let busy = AtomicU64::new(0);
        Ok(CpuShare(Arc::new(Shared { weight, busy })))
    }

    /// Its weight.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }
}

impl fmt::Debug for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = self.0.weight;
        f.debug_struct("CpuShare").field("weight", &weight).finish()
    }
}

/// What an OS thread has counted. Others may have counted the end of what began here, so a cell
/// may be negative, and only the sum means anything.
#[repr(align(128))]
struct Count {
    runs: AtomicI64,
    /// Of the shares that have busy runs.
    weight: AtomicI64,
}

const COUNTS: usize = 64;

static COUNT: [Count; COUNTS] = [const {
    Count {
        runs: AtomicI64::new(0),
        weight: AtomicI64::new(0),
    }
}; COUNTS];

/// How many OS threads have counted.
static OS_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Busy runs, and the weights of their shares.
#[derive(Clone, Copy)]
struct Sums {
    /// When they were added up, in nanoseconds.
    at: u64,
    runs: i64,
    weight: i64,
}

std::thread_local! {
    /// This OS thread's place in `COUNT`. With more than [`COUNTS`] OS threads, some share one.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    static SUMS: Cell<Option<Sums>> = const { Cell::new(None) };
}

fn count(runs: i64, weight: i64) {
    let place = PLACE.get().unwrap_or_else(|| {
        let place = OS_THREADS.fetch_add(1, Ordering::Relaxed) % COUNTS;
        PLACE.set(Some(place));
        place
    });
    let count = &COUNT[place];
    count.runs.fetch_add(runs, Ordering::Relaxed);
    if weight != 0 {
        count.weight.fetch_add(weight, Ordering::Relaxed);
    }
    SUMS.set(SUMS.get().map(|sums| Sums {
        runs: sums.runs + runs,
        weight: sums.weight + weight,
        ..sums
    }));
}

fn sums(now: Moment) -> Sums {
    let at = now.as_nanos();
    if let Some(sums) = SUMS.get().filter(|sums| at.saturating_sub(sums.at) < FRESH) {
        return sums;
    }
    let sum = |of: fn(&Count) -> &AtomicI64| {
        let counts = COUNT.iter().map(|count| of(count).load(Ordering::Relaxed));
        counts.sum()
    };
    let sums = Sums {
        at,
        runs: sum(|count| &count.runs),
        weight: sum(|count| &count.weight),
    };
    SUMS.set(Some(sums));
    sums
}

/// Counts one busy run. The store owns it, because the future may be leaked.
pub(super) struct Busy(Option<CpuShare>);

impl Busy {
    pub(super) fn new(share: Option<CpuShare>) -> Busy {
        let weight = match &share {
            None => 1,
            Some(share) if share.0.busy.fetch_add(1, Ordering::Relaxed) == 0 => share.0.weight,
            Some(_) => 0,
        };
        count(1, weight.into());
        Busy(share)
    }

    /// Whether it counts for `share`.
    pub(super) fn is_for(&self, share: Option<&CpuShare>) -> bool {
        match (&self.0, share) {
            (None, None) => true,
            (Some(own), Some(share)) => Arc::ptr_eq(&own.0, &share.0),
            _ => false,
        }
    }

    /// Its part of a round.
    pub(super) fn budget(&self, now: Moment) -> Duration {
        let (weight, runs) = match &self.0 {
            None => (1, 1),
            Some(share) => (share.0.weight, share.0.busy.load(Ordering::Relaxed).max(1)),
        };
        let sums = sums(now);
        let round = nanos(GRANULARITY).saturating_mul(sums.runs.max(1).unsigned_abs());
        let round = u128::from(round.max(nanos(LATENCY)));
        let all = u128::from(sums.weight.max(1).unsigned_abs()) * u128::from(runs);
        let part = (round * u128::from(weight) / all).min(round);
        Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let weight = match &self.0 {
            None => 1,
            Some(share) if share.0.busy.fetch_sub(1, Ordering::Relaxed) == 1 => share.0.weight,
            Some(_) => 0,
        };
        count(-1, -i64::from(weight));
    }
}

/// What a run has saved up of its parts, in nanoseconds. Negative if it owes some.
#[derive(Default)]
pub(super) struct Credit(i64);

impl Credit {
    /// Adds the part of one more round. Returns how long to run in it; `None` if the run is to
    /// let others have their turn and wait for the next round.
    pub(super) fn earn(&mut self, part: Duration) -> Option<Duration> {
        let part = i64::try_from(part.as_nanos()).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_add(part);
        let credit = u64::try_from(self.0).ok().map(Duration::from_nanos);
        credit.filter(|credit| *credit >= GRANULARITY)
    }

    /// A poll took this long. What it has not used is lost.
    pub(super) fn spend(&mut self, time: Duration) {
        let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_sub(time).clamp(-MOST_DEBT, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget by sums that are fresh.
    fn budget(busy: &Busy) -> Duration {
        SUMS.set(None);
        busy.budget(Moment::now())
    }

    // One test, because there is one count.
    #[test]
    fn busy_runs_divide_a_round_by_their_shares_and_the_count_of_them_is_exact() {
        let all: Vec<Busy> = (0..4).map(|_| Busy::new(None)).collect();
        assert_eq!(budget(&all[0]), LATENCY / 4);
        let many: Vec<Busy> = (0..10_000).map(|_| Busy::new(None)).collect();
        let part = budget(&many[0]);
        assert!(
            part <= GRANULARITY && part > GRANULARITY * 9 / 10,
            "{part:?}"
        );
        drop((all, many));
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| (0..1_000).for_each(|_| drop(Busy::new(None))));
            }
        });
        let one = Busy::new(None);
        assert_eq!(budget(&one), LATENCY);
        // One that ceases to be busy on another OS thread.
        let other = Busy::new(None);
        std::thread::spawn(move || drop(other)).join().unwrap();
        assert_eq!(budget(&one), LATENCY);

        // The runs of a share divide what the share gets.
        let share = CpuShare::new(3).unwrap();
        let of_share: Vec<Busy> = (0..5).map(|_| Busy::new(Some(share.clone()))).collect();
        assert_eq!(budget(&one), LATENCY / 4);
        assert_eq!(budget(&of_share[0]), LATENCY * 3 / 4 / 5);
        assert!(of_share[0].is_for(Some(&share)) && !of_share[0].is_for(None));
        assert!(one.is_for(None) && !one.is_for(Some(&share)));
        drop(of_share);
        assert_eq!(budget(&one), LATENCY);
    }

    #[test]
    fn a_part_that_is_too_short_is_saved_up_and_a_long_poll_is_owed() {
        let mut credit = Credit::default();
        let part = GRANULARITY / 4;
        for _ in 0..3 {
            assert_eq!(credit.earn(part), None);
        }
        assert_eq!(credit.earn(part), Some(GRANULARITY));
        credit.spend(GRANULARITY * 3);
        let rounds = (0..).take_while(|_| credit.earn(part).is_none()).count();
        assert_eq!(rounds, 11);
        credit.spend(Duration::ZERO);
        assert_eq!(credit.earn(part), None);
        credit.spend(Duration::MAX);
        assert_eq!(credit.earn(Duration::from_secs(1)), None);
        assert!(credit.earn(Duration::from_millis(1)).is_some());
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        for weight in [0, MOST_WEIGHT + 1] {
            let error = CpuShare::new(weight).unwrap_err().to_string();
            assert!(error.contains(&format!("weight of {weight}")), "{error}");
        }
        assert_eq!(CpuShare::new(MOST_WEIGHT).unwrap().weight(), MOST_WEIGHT);
    }
}
