//! Random picks are uniform and random slices stay in their range.

use crate::sim::{Chance, End, Machine, State, id};
use preempt_policies::Random;
use proptest::prelude::*;
use std::collections::BTreeSet;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

#[test]
fn every_runnable_thread_is_equally_likely() {
    let mut machine = Machine::new(Box::new(Random::seeded(3)));
    for number in 0..7 {
        machine.spawn(number, &ThreadParams::default());
    }
    machine.end(id(5), 0, End::Parked);
    machine.end(id(6), 0, End::Finished);
    let mut follows = [[0_u32; 5]; 5];
    let mut last = 0;
    for _ in 0..100_000 {
        let picked = machine.dispatch(|_| (1, End::Preempted)).unwrap();
        let picked = usize::try_from(picked.as_u64()).unwrap();
        follows[last][picked] += 1;
        last = picked;
    }
    // 4,000 of each pair, with a standard deviation of 62.
    for count in follows.iter().flatten() {
        assert!(count.abs_diff(4_000) < 5 * 62, "{follows:?}");
    }
}

#[test]
fn the_first_pick_differs_by_seed() {
    let mut firsts = [0_u32; 4];
    for seed in 0..4_000 {
        let mut policy = Random::seeded(seed);
        for number in 0..4 {
            policy.spawned(0, id(number), &ThreadParams::default());
        }
        let first = policy.next(0).unwrap().thread.as_u64();
        firsts[usize::try_from(first).unwrap()] += 1;
    }
    for count in firsts {
        assert!(count.abs_diff(1_000) < 150, "{firsts:?}");
    }
}

#[test]
fn every_slice_of_the_range_comes_up() {
    let mut machine = Machine::new(Box::new(Random::seeded(1).slices(3..=12)));
    machine.spawn(1, &ThreadParams::default());
    let mut slices = BTreeSet::new();
    for _ in 0..1000 {
        machine.dispatch(|pick| {
            slices.insert(pick.slice.unwrap());
            (1, End::Preempted)
        });
    }
    assert!(slices.into_iter().eq(3..=12));
}

proptest! {
    #[test]
    fn slices_stay_in_any_range(seed: u64, min: u64, max: u64) {
        let mut policy = Random::seeded(seed).slices(min..=max);
        policy.spawned(0, id(1), &ThreadParams::default());
        for _ in 0..50 {
            let slice = policy.next(0).unwrap().slice.unwrap();
            let min = min.max(1);
            prop_assert!((min..=max.max(min)).contains(&slice));
            policy.preempted(0, id(1), slice);
        }
    }
}

/// The stream is part of the promise: a seed that found a race finds it again
/// with any later version, on any machine.
#[test]
fn a_seed_means_the_same_picks_forever() {
    let mut machine = Machine::new(Box::new(Random::seeded(42).slices(1..=1000)));
    for number in 0..5 {
        machine.spawn(number, &ThreadParams::default());
    }
    let mut chance = Chance::new(1);
    let mut picks = Vec::new();
    for _ in 0..12 {
        machine.dispatch(|Pick { thread, slice }| {
            picks.push((thread.as_u64(), slice.unwrap()));
            let end = if chance.one_in(4) {
                End::Parked
            } else {
                End::Preempted
            };
            (1, end)
        });
        if chance.one_in(2) {
            let parked = machine.threads.iter();
            let parked = parked.filter(|(_, at)| at.state == State::Parked);
            if let Some(thread) = parked.map(|(&thread, _)| thread).next() {
                machine.wake(thread);
            }
        }
    }
    assert_eq!(
        picks,
        [
            (0, 245),
            (3, 246),
            (3, 394),
            (1, 797),
            (0, 524),
            (1, 344),
            (2, 393),
            (3, 449),
            (2, 108),
            (0, 725),
            (4, 715),
            (3, 279)
        ]
    );
}
