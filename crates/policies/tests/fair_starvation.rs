//! Under weighted fairness no runnable thread waits for longer than documented.

use crate::sim::{Chance, End, Machine, State, id, params, weighing};
use preempt_policies::WeightedFair;
use proptest::prelude::*;

const REQUEST: u64 = 100;
const MOST: u64 = 2 * REQUEST;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn waits_are_bounded_by_the_weights_of_the_others(
        weights in prop::collection::vec(prop_oneof![1..10_u32, 1..5000_u32], 2..30),
        seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(WeightedFair::new(REQUEST)));
        for (number, &weight) in (0..).zip(&weights) {
            machine.spawn(number, &weighing(weight));
        }
        for _ in 0..3000 {
            let sleeper = id(chance.up_to(weights.len() as u64) - 1);
            machine.wake(sleeper);
            machine.dispatch(|_| {
                let end = match chance.up_to(10) {
                    1 | 2 => End::Parked,
                    3 => End::Yielded,
                    _ => End::Preempted,
                };
                (chance.up_to(MOST), end)
            });
            for (thread, at) in machine.ready() {
                let own = u64::from(at.params.weight);
                let all: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
                let others = weights.len() as u64 - 1;
                let bound = (REQUEST + MOST) * ((all - own) / own + 1 + others);
                let waited = machine.now - at.ready_since;
                prop_assert!(waited <= bound, "{thread} waited {waited} of {bound}");
            }
        }
    }
}

#[test]
fn a_heavy_thread_that_yields_in_a_loop_lets_a_light_one_run() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(1, &weighing(9));
    machine.spawn(2, &weighing(1));
    for _ in 0..1000 {
        machine.dispatch(|pick| match pick.thread {
            thread if thread == id(1) => (0, End::Yielded),
            _ => (100, End::Preempted),
        });
    }
    assert!(machine.got(2) >= 9_000);
}

#[test]
fn dispatches_that_report_no_use_come_to_an_end() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(1, &weighing(5));
    machine.spawn(2, &weighing(1));
    let mut dispatches = 0;
    while machine.dispatch(|_| (0, End::Preempted)) != Some(id(2)) {
        dispatches += 1;
        assert!(dispatches < 1000);
    }
}

#[test]
fn a_stream_of_new_threads_does_not_keep_an_old_one_waiting() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(0, &weighing(1));
    for number in 1..=1000 {
        for number in [2 * number, 2 * number + 1] {
            if machine.threads.len() < 3 {
                machine.spawn(number, &weighing(1));
            }
        }
        machine.dispatch(|pick| match pick.thread {
            thread if thread == id(0) => (100, End::Preempted),
            _ => (100, End::Finished),
        });
    }
    // One of three, all the time.
    assert!(machine.got(0) >= machine.now / 3 - 200);
}

#[test]
fn a_group_that_spawns_without_end_gets_no_more_than_its_share() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    let in_group = params(|params| params.group = 1);
    machine.spawn(0, &weighing(1));
    machine.spawn(1, &in_group);
    for number in 2..=1000 {
        machine.spawn(number, &in_group);
        machine.dispatch(|_| (100, End::Preempted));
    }
    assert!(machine.got(0).abs_diff(machine.now / 2) <= 100);
    assert!(machine.threads.values().all(|at| at.state == State::Ready));
}
