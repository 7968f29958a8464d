//! Random numbers that are the same on every machine and in every version.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

/// PCG XSL 128/64 (O'Neill 2014). Built from its defining parameters: a generic
/// seeding function might produce a different stream in a new version.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Pcg64);

impl Dice {
    /// Different policies draw from different streams.
    pub(crate) fn new(seed: u64, stream: u128) -> Self {
        Dice(Pcg64::new(u128::from(seed), stream))
    }

    pub(crate) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, each equally likely (Lemire 2019); 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // This many low halves of the products would favour some of the results.
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.any()) * u128::from(bound);
            #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
            let low = product as u64;
            if low >= unfair {
                return u64::try_from(product >> 64).unwrap_or(0);
            }
        }
    }

    /// A number from `min` to `max`, inclusive.
    pub(crate) fn within(&mut self, min: u64, max: u64) -> u64 {
        match (max - min).checked_add(1) {
            Some(count) => min + self.below(count),
            None => self.any(),
        }
    }
}
