//! Groups get their shares whatever the number of their threads.

use crate::sim::{Chance, End, Machine, id, params};
use preempt_policies::WeightedFair;
use proptest::prelude::*;

const REQUEST: u64 = 100;
const MOST: u64 = 2 * REQUEST;

fn within(got: u64, ideal_times: u64, total: u64, bound: u64) -> bool {
    (got * total).abs_diff(ideal_times) <= (bound + 1) * total
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn by_their_weights_and_their_threads_by_theirs(
        // Of each group: its weight, and its threads' weights.
        groups in prop::collection::vec(
            (1..20_u32, prop::collection::vec(1..20_u32, 1..20)), 1..6),
        single in prop::collection::vec(1..20_u32, 0..4),
        seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(WeightedFair::new(REQUEST)));
        let mut number = 0;
        for (group, (weight, threads)) in (1..).zip(&groups) {
            machine.policy.set_group_weight(group, *weight);
            for &weight in threads {
                number += 1;
                machine.spawn(number, &params(|params| {
                    params.weight = weight;
                    params.group = group;
                }));
            }
        }
        for &weight in &single {
            number += 1;
            machine.spawn(number, &params(|params| params.weight = weight));
        }
        for _ in 0..2000 {
            machine.dispatch(|_| (chance.up_to(MOST), End::Preempted));
        }

        let (r, u) = (REQUEST, MOST);
        let bound = u + (u + r) * (u - r) / r;
        let total = groups.iter().map(|(weight, _)| u64::from(*weight)).sum::<u64>()
            + single.iter().map(|&weight| u64::from(weight)).sum::<u64>();
        for (group, (weight, threads)) in (1..).zip(&groups) {
            let members = || machine.threads.values().filter(|at| at.params.group == group);
            let got: u64 = members().map(|at| at.got).sum();
            let ideal = machine.now * u64::from(*weight);
            prop_assert!(within(got, ideal, total, bound), "group {group} got {got}");

            let inner = threads.iter().map(|&weight| u64::from(weight)).sum();
            for at in members() {
                let ideal = got * u64::from(at.params.weight);
                prop_assert!(within(at.got, ideal, inner, bound), "{at:?} of {got}");
            }
        }
        for at in machine.threads.values().filter(|at| at.params.group == 0) {
            let ideal = machine.now * u64::from(at.params.weight);
            prop_assert!(within(at.got, ideal, total, bound), "{at:?}");
        }
    }
}

#[test]
fn a_weight_that_is_set_while_a_group_runs_counts_from_then_on() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    for number in 1..=6 {
        machine.spawn(number, &params(|params| params.group = 1 + number % 2));
    }
    for _ in 0..50 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    let before: u64 = [1, 3, 5].map(|number| machine.got(number)).iter().sum();
    machine.policy.set_group_weight(2, 4);
    for _ in 0..500 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    let after: u64 = [1, 3, 5].map(|number| machine.got(number)).iter().sum();
    assert!((after - before).abs_diff(500 * 100 * 4 / 5) <= 200);
}

#[test]
fn a_thread_that_changes_its_group_competes_there() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    for number in 1..=3 {
        machine.spawn(number, &params(|params| params.group = 1));
    }
    machine.change(id(3), &params(|params| params.group = 2));
    for _ in 0..400 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    assert!(machine.got(3).abs_diff(200 * 100) <= 100);
}
