//! One level of weighted fair scheduling: who competes, and who is next.
//!
//! This is EEVDF, earliest eligible virtual deadline first (Stoica and Abdel-Wahab
//! 1995), adapted to keep its bounds whatever joins, leaves or uses more than it
//! asked for. Every competitor `i` of weight `w` has a *start*: its virtual time,
//! which using `x` ticks advances by `x / w`. Its *end* is one request later, at
//! `start + r / w`. The line has a *clock*. It picks the earliest end among the
//! competitors whose start the clock has reached.
//!
//! Let `u` be the most that anyone uses in one dispatch (`u >= r`). With one dispatch
//! at a time, these hold at every pick:
//!
//! 1. Some ready competitor's start is not after the clock: the line never idles.
//! 2. `start <= clock + u / w`: only a start that the clock has reached is advanced,
//!    once, and the clock never goes back.
//! 3. `clock <= end = start + r / w` for all ready competitors: the clock waits at
//!    the first end, and those who join start at the clock or later.
//!
//! Within the limits of 2 and 3, the clock advances by what is used, divided by the
//! sum of the competitors' weights, just as on an ideal machine that serves all at
//! once. While nobody joins or leaves, that makes it the weighted mean of all starts,
//! and the line plain EEVDF. When a competitor leaves ahead of the clock, what it has
//! used in advance stays with the line, so that the others are repaid for it.
//!
//! # What follows
//!
//! *Proportion*: by 2 and 3, a start is never more than `u / w` after the clock or
//! `r / w` before it. So two starts advance alike to within twice that range.
//!
//! *Starvation*: once ready, `k` ends by `clock + (r + u) / w_k`, and the clock does
//! not pass that end. Another competitor `i` is picked only as long as its start is
//! not after that. It began at `clock - r / w_i` at the earliest, so it gets at most
//! `w_i * (r + u) / w_k + r + u`.
//!
//! *Lag*, while nobody joins or leaves: nobody is ahead by more than `u`, by 2. Let
//! `k` be behind, with its request ending at `d`. Let `c` be the clock at the last
//! pick of an end later than `d`. Then all requests that end by `d` started after
//! `c`, and only those have been served since. Together they got what their weights
//! make of `d - c`, less `k`'s own `r`, plus one overrun of `u - r` for each of the
//! `m` competitors that made them. So with `W` as the sum of all weights, the mean is
//! now at most `d + (u + m * (u - r) - r) / W`. But such a request has a length of
//! `r / w_i`, and `d - c <= (r + u) / w_k` by 2, so that
//! `m * w_k / W <= (r + u) / r`. So `k` is behind by at most
//! `u + (u + r) * (u - r) / r`.
//!
//! # Rejected
//!
//! A clock that is always the mean. It goes back when a competitor that is ahead
//! leaves, which breaks 2. It runs away from a competitor that waits while others
//! overrun, which breaks 3. And threads that finish after one slice each would take
//! their debt with them, and hold up an old thread for hundreds of slices.
//!
//! The least start as the clock (start-time fair queueing, Goyal, Guo and Vin 1996).
//! It keeps 1 to 3 as well, but a heavy thread among `n` light ones waits for a slice
//! of each.

use crate::tree::Tree;

/// Virtual time is in ticks per unit of weight, times two to this power: enough for a
/// single tick of the greatest weight to count. 64 bits of ticks, this many, and 31
/// more for the sum over all competitors fit in 127 bits.
const SCALE: u32 = 32;

/// A competitor's account with the line.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    weight: u32,
    start: u128,
    /// The remainder of the last division by the weight.
    rest: u32,
}

impl Share {
    /// Derived from the other fields, so that the tree entry can be found again.
    fn end(&self, request: u64) -> u128 {
        let length = (u128::from(request) << SCALE) / u128::from(self.weight);
        self.start.saturating_add(length)
    }

    pub(crate) fn new(weight: u32) -> Self {
        Share {
            weight: weight.max(1),
            start: 0,
            rest: 0,
        }
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }
}

/// The competitors of one level. A competitor *joins* and *leaves*. While it
/// competes, it is *queued* whenever it has something to run.
#[derive(Clone, Debug)]
pub(crate) struct Line<K> {
    queued: Tree<K>,
    request: u64,
    clock: u128,
    /// Of all competitors.
    weight: u128,
    /// The sum of `weight * (start - clock)` over all competitors: zero when the
    /// clock is their mean.
    ahead: i128,
    /// What competitors used ahead of the clock before they left, and have not come
    /// back to owe since, less what others left unused behind the clock.
    left: u128,
}

impl<K: Copy + Ord> Line<K> {
    /// Competitors ask for `request` ticks at a time.
    pub(crate) fn new(request: u64) -> Self {
        Line {
            queued: Tree::new(),
            request: request.max(1),
            clock: 0,
            weight: 0,
            ahead: 0,
            left: 0,
        }
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Starts to compete. Time spent elsewhere earns no credit: a competitor behind
    /// the clock starts at the clock. One ahead of it has to wait, and owes its lead
    /// itself again.
    pub(crate) fn join(&mut self, share: &mut Share) {
        share.start = share.start.max(self.clock);
        let owed = self.ticks_ahead(share).unsigned_abs();
        self.left = self.left.saturating_sub(owed);
        self.weigh(share, 1);
    }

    pub(crate) fn leave(&mut self, share: &Share) {
        self.weigh(share, -1);
        if self.weight == 0 {
            self.ahead = 0;
            self.left = 0;
        } else {
            self.left = self.left.saturating_add_signed(self.ticks_ahead(share));
        }
    }

    pub(crate) fn queue(&mut self, key: K, share: &Share) {
        self.queued
            .insert(share.start, share.end(self.request), key);
    }

    pub(crate) fn unqueue(&mut self, key: K, share: &Share) {
        self.queued.remove(share.end(self.request), key);
    }

    /// Charges `used` ticks to a competitor that is not queued.
    pub(crate) fn charge(&mut self, share: &mut Share, used: u64) {
        let weight = u128::from(share.weight);
        let amount = (u128::from(used) << SCALE) + u128::from(share.rest);
        let step = amount / weight;
        share.rest = u32::try_from(amount % weight).unwrap_or(0);
        share.start = share.start.saturating_add(step);
        self.ahead = self.ahead.saturating_add_unsigned(step * weight);
    }

    /// Changes a weight. What the competitor has used ahead of the clock, or may
    /// still use behind it, stays the same number of ticks. The competitor is not
    /// queued; `competes` tells whether it has joined.
    pub(crate) fn reweigh(&mut self, share: &mut Share, weight: u32, competes: bool) {
        if competes {
            self.weigh(share, -1);
        }
        let ticks = self.ticks_ahead(share);
        self.place(share, weight, ticks);
        if competes {
            self.weigh(share, 1);
        }
    }

    /// Takes the next competitor out of the queue.
    pub(crate) fn pick(&mut self) -> Option<K> {
        if self.queued.is_empty() {
            return None;
        }
        let first_end = self.queued.first_end();
        let moved = self.ahead.saturating_add_unsigned(self.left);
        let moved = u128::try_from(moved).unwrap_or(0) / self.weight.max(1);
        let mut clock = self.clock.saturating_add(moved);
        if clock > first_end {
            // Rule 3. Forgets only what leavers left behind: what the competitors
            // themselves have used will move the clock later.
            clock = first_end;
            let room = self.turn(first_end).saturating_sub(self.ahead);
            self.left = self.left.min(u128::try_from(room).unwrap_or(0));
        }
        let clock = clock.max(self.queued.least_start()).max(self.clock);
        self.ahead = self.ahead.saturating_sub(self.turn(clock));
        self.clock = clock;
        self.queued.take_first(clock)
    }

    /// What it takes to advance the clock to here, in scaled ticks.
    fn turn(&self, clock: u128) -> i128 {
        let ticks = clock.saturating_sub(self.clock).saturating_mul(self.weight);
        i128::try_from(ticks).unwrap_or(i128::MAX)
    }

    fn weigh(&mut self, share: &Share, sign: i128) {
        self.weight = self
            .weight
            .saturating_add_signed(sign * i128::from(share.weight));
        self.ahead = self.ahead.saturating_add(sign * self.ticks_ahead(share));
    }

    /// `weight * (start - clock)`, in scaled ticks.
    fn ticks_ahead(&self, share: &Share) -> i128 {
        let weight = i128::from(share.weight);
        let ahead = i128::try_from(share.start.abs_diff(self.clock)).unwrap_or(i128::MAX);
        // One less than the limit, so that the value can be negated.
        let ticks = ahead.saturating_mul(weight).min(i128::MAX - 1);
        if share.start < self.clock {
            -ticks
        } else {
            ticks
        }
    }

    /// Sets a weight, and the start that gives this
    /// [`ticks_ahead`](Line::ticks_ahead).
    fn place(&self, share: &mut Share, weight: u32, ticks_ahead: i128) {
        share.weight = weight.max(1);
        share.rest = 0;
        let distance = ticks_ahead / i128::from(share.weight);
        share.start = self.clock.saturating_add_signed(distance);
    }
}
