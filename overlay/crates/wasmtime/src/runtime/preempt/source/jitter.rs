//! Small random variations in fuel slices.
//!
//! A fixed slice can be in step with a guest's loop: the guest is then preempted at the same
//! place on every turn, forever. If it holds a lock there, no sibling ever gets that lock. So
//! each slice is shortened by a pseudo-random amount, and the place moves. The numbers depend
//! only on the store's seed and on how many slices there have been, so a schedule is the same
//! on every machine.
//!
//! Time slices need none of this: no two take exactly as long.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014).

use crate::runtime::preempt::slice::Slice;

/// A slice is shortened by at most one part in this many.
const PART: u64 = 8;

/// But every slice may be shortened by this much, so that short ones vary too.
const LEAST: u64 = 16;

pub(in crate::runtime::preempt) struct Jitter {
    state: u64,
    /// The next number, generated ahead so that a dispatch does not wait for it.
    ahead: u64,
}

impl Default for Jitter {
    fn default() -> Jitter {
        Jitter::new(0)
    }
}

impl Jitter {
    pub(in crate::runtime::preempt) fn new(seed: u64) -> Jitter {
        let mut jitter = Jitter {
            state: seed,
            ahead: 0,
        };
        jitter.next();
        jitter
    }

    /// The actual slice for a thread whose nominal slice is `slice`.
    #[inline]
    pub(in crate::runtime::preempt) fn apply(&mut self, slice: Slice) -> Slice {
        match slice {
            Slice::Time(_) => slice,
            Slice::Fuel(fuel) => {
                let most = (fuel / PART).max(LEAST).min(fuel - fuel.min(1));
                Slice::Fuel(fuel - self.below(most + 1))
            }
        }
    }

    /// A number below `end`, which is at most 2^63. Some are more likely than others, by less
    /// than a factor of 1 + end / 2^64.
    #[inline]
    fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        (wide >> 64) as u64
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        core::mem::replace(&mut self.ahead, z ^ (z >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_at_most_as_long_and_seldom_much_shorter() {
        let mut jitter = Jitter::new(7);
        for fuel in [1, 2, 7, 16, 17, 100, 10_000_000, i64::MAX as u64] {
            for _ in 0..1_000 {
                let Slice::Fuel(given) = jitter.apply(Slice::Fuel(fuel)) else {
                    panic!("another kind of slice");
                };
                assert!((1..=fuel).contains(&given), "{given} of {fuel}");
                assert!(fuel - given <= (fuel / PART).max(LEAST));
            }
        }
    }

    #[test]
    fn short_slices_get_every_length_and_long_ones_vary_by_an_eighth() {
        let mut jitter = Jitter::new(1);
        let mut lengths = |fuel| -> Vec<u64> {
            let mut lengths: Vec<u64> = (0..2_000)
                .map(|_| match jitter.apply(Slice::Fuel(fuel)) {
                    Slice::Fuel(given) => given,
                    Slice::Time(_) => panic!("another kind of slice"),
                })
                .collect();
            lengths.sort_unstable();
            lengths.dedup();
            lengths
        };
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(5), [1, 2, 3, 4, 5]);
        assert_eq!(lengths(40), (24..=40).collect::<Vec<_>>());
        let long = lengths(8_000_000);
        assert!(long[0] < 7_010_000 && long[long.len() - 1] > 7_990_000);
    }

    #[test]
    fn a_schedule_depends_on_the_seed_alone() {
        let slices = |seed| {
            let mut jitter = Jitter::new(seed);
            core::array::from_fn::<_, 20, _>(|_| jitter.apply(Slice::Fuel(1_000)))
        };
        assert_eq!(slices(3), slices(3));
        assert_ne!(slices(3), slices(4));
        let time = Slice::Time(core::time::Duration::from_millis(1));
        assert_eq!(Jitter::new(3).apply(time), time);
    }
}
