//! One level of weighted fair scheduling: who competes, and who is next.
//!
//! This is EEVDF, earliest eligible virtual deadline first (Stoica and
//! Abdel-Wahab 1995), made to hold its bounds whatever joins, leaves or uses
//! more than it asked for. Every competitor `i` of weight `w` has a *start*: its
//! virtual time, which its use of `x` ticks moves on by `x / w`. Its *end* is a
//! request's worth later, at `start + r / w`. The line has a *clock*, and picks
//! the earliest end among the competitors whose start the clock has reached.
//!
//! With `u` as the most that anyone uses in one dispatch (`u >= r`), and one
//! dispatch at a time, these hold whenever a pick is made:
//!
//! 1. Some ready competitor's start is not after the clock: the line never idles.
//! 2. `start <= clock + u / w`: only a start that the clock had reached is moved
//!    on, once, and the clock never goes back.
//! 3. `clock <= end = start + r / w` for all that are ready: the clock waits at
//!    the first end; those who join start at the clock or later.
//!
//! Where 2 and 3 let it, the clock moves by what is used, divided by the sum of
//! the competitors' weights, just as in an ideal machine that serves all at once.
//! While nobody joins or leaves, that makes it the weighted mean of all starts, and
//! the line plain EEVDF. What a competitor that leaves has used ahead of the clock
//! is left to the line, so that the others are repaid for it.
//!
//! # What follows
//!
//! *Proportion*: by 2 and 3 a start is never further from the clock than `u / w`
//! and `r / w`, so two starts move on alike but for twice that.
//!
//! *Starvation*: `k`, once ready, ends by `clock + (r + u) / w_k`, and the clock
//! does not pass that end. Another one, `i`, is picked only as long as its start
//! is not after that. It began at `clock - r / w_i` at the earliest, so it gets
//! `w_i * (r + u) / w_k + r + u` at most.
//!
//! *Lag*, while nobody joins or leaves. Nobody is ahead by more than `u`, by 2. Let
//! `k` be behind, with its request ending at `d`, and let the last pick of a later
//! end than `d` have been when the clock was `c`. Then, all requests that end by
//! `d` started after `c`, and of those only were served since: of each one's, what
//! its weight makes of `d - c`, of `k`'s own `r` less, and one overrun of `u - r`
//! for each of the `m` whose requests these are. So with `W` as the sum of all
//! weights the mean is now at `d + (u + m * (u - r) - r) / W` at most. But such a
//! request has a length of `r / w_i`, and `d - c <= (r + u) / w_k` by 2, so that
//! `m * w_k / W <= (r + u) / r`: `k` is behind by `u + (u + r) * (u - r) / r` at
//! most.
//!
//! # Rejected
//!
//! A clock that is always the mean. It goes back when a competitor that
//! is ahead leaves, and 2 is lost; it runs away from one that waits while others
//! overrun, and 3 is lost; and threads that finish after one slice each would
//! take what they owe with them, and hold up an old one for hundreds of slices.
//!
//! The least start as the clock (start-time fair queueing, Goyal, Guo and Vin
//! 1996). It keeps 1 to 3 as well, but a heavy thread among `n` light ones waits
//! for a slice of each.

use crate::tree::Tree;

/// Virtual time is in ticks per unit of weight, times two to this power: enough
/// for a single tick of the greatest weight to count. 64 bits of ticks, these,
/// and 31 more for the sum over all competitors, are within 127 bits.
const SCALE: u32 = 32;

/// What a competitor has of the line's time.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    weight: u32,
    start: u128,
    /// What the last division by the weight left over.
    rest: u32,
}

impl Share {
    /// Follows from the rest, so that what is in the tree can be found there.
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

/// The competitors of one level. A competitor *joins* and *leaves*; while it
/// competes, it is *queued* when it has something to run.
#[derive(Clone, Debug)]
pub(crate) struct Line<K> {
    queued: Tree<K>,
    request: u64,
    clock: u128,
    /// Of all competitors.
    weight: u128,
    /// Sum of `weight * (start - clock)` over all competitors: zero when the
    /// clock is their mean.
    ahead: i128,
    /// What those who have left had used ahead of the clock and do not owe any
    /// more since, less what others have left unused behind it.
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

    /// Starts to compete. Time spent elsewhere is no credit: whoever is behind
    /// the clock starts at the clock. Whoever is ahead of it has yet to wait, and
    /// owes that itself again.
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

    /// Books `used` ticks on a competitor that is not queued.
    pub(crate) fn charge(&mut self, share: &mut Share, used: u64) {
        let weight = u128::from(share.weight);
        let amount = (u128::from(used) << SCALE) + u128::from(share.rest);
        let step = amount / weight;
        share.rest = u32::try_from(amount % weight).unwrap_or(0);
        share.start = share.start.saturating_add(step);
        self.ahead = self.ahead.saturating_add_unsigned(step * weight);
    }

    /// Changes a weight. What the competitor has used ahead of the clock, or may
    /// still use behind it, stays the same number of ticks. It is not queued, and
    /// `competes` tells whether it has joined.
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

    /// Takes the competitor that is next out of the queue.
    pub(crate) fn pick(&mut self) -> Option<K> {
        if self.queued.is_empty() {
            return None;
        }
        let first_end = self.queued.first_end();
        let moved = self.ahead.saturating_add_unsigned(self.left);
        let moved = u128::try_from(moved).unwrap_or(0) / self.weight.max(1);
        let mut clock = self.clock.saturating_add(moved);
        if clock > first_end {
            // Rule 3. Only what has been left is forgotten: what the competitors
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

    /// What it takes to move the clock on to here, in scaled ticks.
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
        // One less than the limits, so that the sign can be turned.
        let ticks = ahead.saturating_mul(weight).min(i128::MAX - 1);
        if share.start < self.clock {
            -ticks
        } else {
            ticks
        }
    }

    /// Sets a weight, and a start so that [`ticks_ahead`](Line::ticks_ahead) is
    /// this.
    fn place(&self, share: &mut Share, weight: u32, ticks_ahead: i128) {
        share.weight = weight.max(1);
        share.rest = 0;
        let distance = ticks_ahead / i128::from(share.weight);
        share.start = self.clock.saturating_add_signed(distance);
    }
}
