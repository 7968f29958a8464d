//! Random numbers and clocks for the guests of a run that can be repeated.

use preempt_wasi::Clock;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use wasmtime::preempt::VirtualClock;
use wasmtime_wasi::WasiCtxBuilder;

/// Where guests' random numbers come from, and a clock that follows their fuel.
#[derive(Clone, Debug)]
pub struct Chance {
    pub seed: u64,
    pub clock: VirtualClock,
}

impl Chance {
    pub fn of(seed: u64) -> Chance {
        Chance {
            seed,
            clock: VirtualClock::new(),
        }
    }

    /// Gives them to the guest of this index, which has random numbers of its own.
    pub fn give(&self, index: usize, builder: &mut WasiCtxBuilder) {
        let own = self.seed ^ (index as u64).rotate_right(24);
        let clock = Clock::new(self.clock.clone());
        builder
            .secure_random(Pcg64Mcg::seed_from_u64(own))
            .insecure_random(Pcg64Mcg::seed_from_u64(!own))
            .insecure_random_seed(own.into())
            .monotonic_clock(clock.clone())
            .wall_clock(clock);
    }
}
