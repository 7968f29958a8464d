//! Priorities are random, change at most `depth - 1` times, and find races as
//! often as they should.

use crate::sim::{End, Machine, id};
use preempt_policies::Pct;
use proptest::prelude::*;
use wasmtime::preempt::ThreadParams;

fn with_threads(policy: Pct, threads: u64) -> Machine<Pct> {
    let mut machine = Machine::new(Box::new(policy));
    for number in 0..threads {
        machine.spawn(number, &ThreadParams::default());
    }
    machine
}

proptest! {
    #[test]
    fn threads_change_at_most_depth_minus_one_times(
        seed: u64, threads in 1..10_u64, depth in 0..6_u32,
    ) {
        let mut machine = with_threads(Pct::new(seed, threads, 200, depth), threads);
        let mut picks = Vec::new();
        for _ in 0..200 {
            picks.extend(machine.dispatch(|_| (1, End::Preempted)));
        }
        let changes = picks.windows(2).filter(|pair| pair[0] != pair[1]).count();
        prop_assert!(changes < depth.max(1) as usize, "{changes}");
    }

    #[test]
    fn nobody_is_left_spinning_after_the_last_step(seed: u64, threads in 2..10_u64) {
        let mut machine = with_threads(Pct::new(seed, threads, 50, 3), threads);
        for _ in 0..50 + 2 * threads {
            machine.dispatch(|_| (1, End::Preempted));
        }
        prop_assert!(machine.threads.values().all(|at| at.got > 0));
    }

    #[test]
    fn a_thread_that_yields_lets_all_others_run(seed: u64, threads in 2..10_u64) {
        let mut machine = with_threads(Pct::new(seed, threads, 1_000_000, 3), threads);
        for _ in 0..threads {
            machine.dispatch(|_| (1, End::Yielded));
        }
        prop_assert!(machine.threads.values().all(|at| at.got == 1));
    }
}

/// Thread 0 checks in its step 5 and uses in step 6; thread 1 breaks it in its
/// step 3. Depth 2: 1 must come to step 3 exactly between these.
fn finds_the_race(seed: u64) -> bool {
    let mut machine = with_threads(Pct::new(seed, 2, 20, 2), 2);
    let mut broken = false;
    let mut checked_whole = false;
    let mut found = false;
    while !machine.threads.is_empty() {
        let steps = [0, 1].map(|number| machine.threads.get(&id(number)).map_or(10, |at| at.got));
        machine.dispatch(|pick| {
            match (pick.thread.as_u64(), steps) {
                (0, [5, _]) => checked_whole = !broken,
                (0, [6, _]) => found |= checked_whole && broken,
                (1, [_, 3]) => broken = true,
                _ => {}
            }
            let step = steps[usize::try_from(pick.thread.as_u64()).unwrap()];
            let end = if step == 9 {
                End::Finished
            } else {
                End::Preempted
            };
            (1, end)
        });
    }
    found
}

#[test]
fn a_race_of_depth_two_is_found_as_often_as_promised() {
    let one_in = Pct::new(0, 2, 20, 2).one_in();
    assert_eq!(one_in, 40);
    let runs = 4_000;
    let found = (0..runs).filter(|&seed| finds_the_race(seed)).count();
    // 100 are promised, with a standard deviation of 10.
    assert!(found >= 70, "{found} of {runs}");
}

#[test]
fn every_order_of_threads_is_equally_likely() {
    let mut orders = std::collections::BTreeMap::new();
    for seed in 0..6_000 {
        let mut machine = with_threads(Pct::new(seed, 3, 10, 1), 3);
        let order = [(); 3].map(|()| machine.dispatch(|_| (1, End::Parked)).unwrap());
        *orders.entry(order).or_insert(0_u32) += 1;
    }
    assert_eq!(orders.len(), 6);
    assert!(
        orders.values().all(|count| count.abs_diff(1_000) < 150),
        "{orders:?}"
    );
}

#[test]
fn absurd_parameters_are_taken() {
    for (threads, steps, depth) in [(0, 0, 0), (u64::MAX, u64::MAX, u32::MAX)] {
        let policy = Pct::new(1, threads, steps, depth);
        assert!(policy.one_in() >= 1);
        let mut machine = with_threads(policy, 3);
        for _ in 0..10 {
            machine.dispatch(|_| (1, End::Preempted));
        }
    }
}
