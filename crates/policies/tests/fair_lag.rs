//! Beside an ideal machine that serves all at once, nobody is ahead or behind by
//! more than the documented amount.

use crate::sim::{Chance, End, Machine, id, params, weighing};
use preempt_policies::WeightedFair;
use proptest::prelude::*;

/// Runs threads that never sleep, and checks after each dispatch that what each
/// one has got is within the bounds around its share.
fn check_lag(weights: &[u32], request: u64, most: u64, dispatches: u32, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut machine = Machine::new(Box::new(WeightedFair::new(request)));
    for (number, &weight) in (0..).zip(weights) {
        machine.spawn(number, &weighing(weight));
    }
    let total: i128 = weights.iter().map(|&weight| i128::from(weight)).sum();
    let (r, u) = (i128::from(request), i128::from(most));
    let behind = u + (u + r) * (u - r) / r;
    for _ in 0..dispatches {
        // Overruns, and slices that end before their time.
        machine.dispatch(|_| (chance.up_to(most), End::Preempted));
        for (thread, at) in &machine.threads {
            // Both sides times the sum of all weights; a tick for rounding.
            let ideal = i128::from(machine.now) * i128::from(at.params.weight);
            let lag = ideal - i128::from(at.got) * total;
            assert!(lag >= -(u + 1) * total, "{thread} got too much: {lag}");
            assert!(
                lag <= (behind + 1) * total,
                "{thread} got too little: {lag}"
            );
        }
    }
}

fn any_weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![3 => 1..10_u32, 1 => 1..1000_u32, 1 => 1..=u32::MAX];
    prop::collection::vec(weight, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn exact_slices_keep_everyone_within_a_slice(weights in any_weights(), seed: u64) {
        check_lag(&weights, 1000, 1000, 600, seed);
    }

    #[test]
    fn slices_overrun_up_to_twice_keep_the_documented_bound(
        weights in any_weights(), seed: u64,
    ) {
        check_lag(&weights, 1000, 2000, 600, seed);
    }

    #[test]
    fn nanoseconds_and_units_of_fuel_alike(
        weights in any_weights(), request in 1..100_000_000_000_u64, seed: u64,
    ) {
        check_lag(&weights, request, request * 2, 200, seed);
    }
}

#[test]
fn a_heavy_thread_does_not_wait_for_a_slice_of_each_light_one() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(1000)));
    machine.spawn(0, &weighing(100));
    for number in 1..=100 {
        machine.spawn(number, &weighing(1));
    }
    // Those that sleep do not count, nor does their group.
    machine.policy.set_group_weight(1, 1_000_000);
    machine.spawn(101, &params(|params| params.group = 1));
    machine.end(id(101), 0, End::Parked);
    machine.spawn(102, &weighing(1_000_000));
    machine.end(id(102), 0, End::Parked);
    let mut since = 0;
    for _ in 0..1000 {
        let thread = machine.dispatch(|_| (1000, End::Preempted)).unwrap();
        since = if thread == id(0) { 0 } else { since + 1 };
        assert!(since <= 2, "half of the machine is its share");
    }
}

#[test]
fn decades_of_nanoseconds_and_all_weights_are_exact() {
    let year = 365 * 24 * 3600 * 1_000_000_000_u64;
    let weights = [1, u32::MAX, 1 << 16, (1 << 31) + 1, 1 << 30, 3];
    for step in [1, 1000, year / 1000] {
        check_lag(&weights, step, step * 2, 20_000, 5);
    }
}
