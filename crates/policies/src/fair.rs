//! Weighted fair shares of threads and groups of threads.

use crate::dice::Dice;
use crate::levels::{Levels, Member};
use crate::table::Table;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Gives every thread, and every group of threads, time in proportion to its weight.
///
/// There are two levels. A group (`ThreadParams::group`, other than 0) competes as
/// one, with its own weight, which is 1 until [`set_group_weight`] changes it. Its
/// threads compete for the group's time by their weights. The threads of group 0
/// compete on their own, alongside the groups.
///
/// # What holds
///
/// Let `r` be the request, `u >= r` the most that any thread uses in one dispatch,
/// and `w` the weights. On each level, counted in that level's time:
///
/// - *Proportion.* While two competitors are both runnable, what they get per weight
///   differs by at most `(r + u) / w1 + (r + u) / w2`, however long that lasts, and
///   whatever else is spawned, sleeps, is killed or overruns its slice.
/// - *Lag.* While the same competitors stay runnable from when they all started, none
///   is ahead of its share on an ideal machine that serves all at once by more than
///   `u`, or behind by more than `u + (u + r) * (u - r) / r`, which is `r` if no
///   slice is overrun.
/// - *No starvation.* A runnable competitor waits for at most
///   `(r + u) * sum(w / w_self + 1)`, summed over the others that are runnable
///   meanwhile.
/// - *No credit for sleep.* A thread that is new or wakes up starts level with the
///   others. One that wakes soon after running is still charged for that run.
///
/// A yield counts as a whole request, even if less was used: otherwise a thread of
/// high weight that yields in a loop would be picked again and again.
///
/// # Cost
///
/// O(log n) for every operation, expected over a fixed stream of pseudo-random
/// numbers. Memory for live threads, and for groups that have a thread or a weight
/// other than 1. Integers only: exact for some 2^60 ticks (decades of nanoseconds)
/// and all weights.
///
/// # Where it comes from
///
/// Earliest eligible virtual deadline first (Stoica and Abdel-Wahab 1995), once per
/// level, with a clock that is kept between two bounds. `line.rs` has the invariants
/// that the claims above follow from.
///
/// [`set_group_weight`]: WeightedFair::set_group_weight
#[derive(Clone, Debug)]
pub struct WeightedFair {
    request: u64,
    threads: Table<Member>,
    levels: Levels,
    dice: Dice,
}

/// Even a short slice may be shortened by this much, so that short ones vary too.
const LEAST: u64 = 16;

/// The stream of the numbers that vary the slices.
const STREAM: u128 = 3;

impl WeightedFair {
    /// Each slice is `request` ticks (at least 1), whatever slice the thread or the
    /// store has, less a pseudo-random amount of up to an eighth or 16 ticks,
    /// whichever is more. A slice of constant length can fall into step with a guest,
    /// which is then preempted at the same place each time, perhaps while it holds a
    /// lock. A shorter request gives tighter bounds and more switches.
    #[must_use]
    pub fn new(request: u64) -> Self {
        let request = request.max(1);
        WeightedFair {
            request,
            threads: Table::default(),
            levels: Levels::new(request),
            dice: Dice::new(0, STREAM),
        }
    }

    /// Sets the weight of a group, whether or not it has threads yet. Every group
    /// starts with weight 1. Any other weight is kept until it is set back to 1; 0
    /// counts as 1. Group 0 is not a group and has no weight.
    pub fn set_group_weight(&mut self, group: u64, weight: u32) {
        self.levels.set_group_weight(group, weight);
    }

    fn give_back(&mut self, thread: ThreadId, used: u64) {
        if let Some(member) = self.threads.give_back(thread) {
            self.levels.give_back(thread, used, member);
        }
    }
}

impl ThreadScheduler for WeightedFair {
    fn spawned(&mut self, _now: u64, thread: ThreadId, params: &ThreadParams) {
        let new = || Member::new(params.group, params.weight);
        if let Some(member) = self.threads.spawn(thread, new) {
            self.levels.add(member);
            self.levels.admit(thread, true, member);
        }
    }

    fn preempted(&mut self, _now: u64, thread: ThreadId, used: u64) {
        // No dispatch is free, or a thread that reports no use could run forever.
        self.give_back(thread, used.max(1));
    }

    fn yielded(&mut self, _now: u64, thread: ThreadId, used: u64) {
        self.give_back(thread, used.max(self.request));
    }

    fn parked(&mut self, _now: u64, thread: ThreadId, used: u64) {
        if let Some((was, member)) = self.threads.park(thread) {
            self.levels.withdraw(thread, was, used.max(1), member);
        }
    }

    fn woken(&mut self, _now: u64, thread: ThreadId) {
        if let Some(member) = self.threads.wake(thread) {
            self.levels.admit(thread, true, member);
        }
    }

    fn changed(&mut self, _now: u64, thread: ThreadId, params: &ThreadParams) {
        if let Some((state, member)) = self.threads.get_mut(thread) {
            self.levels
                .change(thread, state, params.group, params.weight, member);
        }
    }

    fn finished(&mut self, _now: u64, thread: ThreadId, used: u64) {
        if let Some((was, mut member)) = self.threads.finish(thread) {
            self.levels.withdraw(thread, was, used.max(1), &mut member);
            self.levels.remove(&member);
        }
    }

    fn next(&mut self, _now: u64) -> Option<Pick> {
        let thread = self.levels.pick()?;
        self.threads.run(thread);
        let most = (self.request / 8).max(LEAST).min(self.request - 1);
        Some(Pick {
            thread,
            slice: Some(self.request - self.dice.below(most + 1)),
        })
    }
}
