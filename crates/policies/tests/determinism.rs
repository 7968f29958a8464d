//! The same calls give the same picks.

use crate::sim::{Chance, End, Machine, id, params, policies};
use proptest::prelude::*;
use wasmtime::preempt::{Pick, ThreadScheduler};

/// Guests that are spawned, sleep, wake and finish as `seed` has it.
fn picks<S: ThreadScheduler + ?Sized>(policy: Box<S>, seed: u64) -> Vec<Pick> {
    let mut chance = Chance::new(seed);
    let mut machine = Machine::new(policy);
    let mut picks = Vec::new();
    for step in 1..=400 {
        if step < 10 || chance.one_in(10) {
            let params = params(|params| {
                params.weight = chance.up_to(9).try_into().unwrap();
                params.priority = chance.up_to(3).try_into().unwrap();
                params.group = chance.up_to(3) - 1;
                params.deadline = chance.one_in(2).then(|| chance.up_to(500));
            });
            machine.spawn(step, &params);
        }
        machine.wake(id(chance.up_to(step)));
        let (used, end) = (chance.up_to(20), chance.up_to(8));
        machine.dispatch(|pick| {
            picks.push(pick);
            let end = match end {
                1 => End::Finished,
                2 => End::Parked,
                3 => End::Yielded,
                _ => End::Preempted,
            };
            (used, end)
        });
    }
    picks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn two_runs_are_the_same(seed: u64) {
        for ((name, a), (_, b)) in policies().into_iter().zip(policies()) {
            prop_assert_eq!(picks(a, seed), picks(b, seed), "{}", name);
        }
    }
}

/// Of every policy: so that a change that alters schedules is noticed, and that
/// they are known to be the same on every machine.
#[test]
fn picks_are_these_on_every_machine() {
    let digests: Vec<_> = policies()
        .into_iter()
        .map(|(name, policy)| {
            let picks = picks(policy, 1);
            let words = picks
                .iter()
                .flat_map(|pick| [pick.thread.as_u64(), pick.slice.unwrap_or(u64::MAX)]);
            let digest = words.fold(0_u64, |digest, word| {
                (digest.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            (name, digest)
        })
        .collect();
    assert_eq!(
        digests,
        [
            ("round robin", 12_253_240_651_941_185_617),
            ("fair", 711_002_096_990_382_541),
            ("priority", 8_890_159_015_773_431_517),
            ("strict priority", 8_632_688_401_685_156_330),
            ("deadline", 2_106_879_409_798_632_316),
            ("random", 15_146_279_450_072_710_384),
            ("pct", 6_204_079_981_243_380_544),
            ("replay", 10_861_868_157_881_164_577),
            ("young first", 16_301_446_042_765_289_500),
        ]
    );
}
