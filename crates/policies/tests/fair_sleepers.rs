//! Sleep earns nothing, and costs nothing.

use crate::sim::{Chance, End, Machine, id, weighing};
use preempt_policies::WeightedFair;

#[test]
fn a_thread_that_slept_for_long_does_not_catch_up() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(1, &weighing(1));
    machine.spawn(2, &weighing(1));
    machine.end(id(2), 0, End::Parked);
    for _ in 0..1000 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    machine.wake(id(2));
    let before = machine.got(1);
    for _ in 0..100 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    assert!((machine.got(1) - before).abs_diff(50 * 100) <= 100);
}

#[test]
fn a_new_thread_starts_level_with_the_old() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(1, &weighing(1));
    for _ in 0..1000 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    machine.spawn(2, &weighing(1));
    for _ in 0..100 {
        machine.dispatch(|_| (100, End::Preempted));
    }
    assert!(machine.got(2).abs_diff(50 * 100) <= 100);
}

#[test]
fn a_nap_after_each_slice_is_no_way_to_get_more() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(1, &weighing(1));
    machine.spawn(2, &weighing(1));
    for _ in 0..1000 {
        machine.dispatch(|pick| match pick.thread {
            thread if thread == id(2) => (100, End::Parked),
            _ => (100, End::Preempted),
        });
        machine.wake(id(2));
    }
    assert!(machine.got(2) <= 500 * 100 + 200);
    assert!(machine.got(2) >= 500 * 100 - 200);
}

#[test]
fn a_thread_that_wakes_seldom_is_picked_within_a_slice_or_two() {
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    for number in 1..=10 {
        machine.spawn(number, &weighing(1));
    }
    machine.spawn(11, &weighing(20));
    for _ in 0..100 {
        let mut dispatches = 0;
        while machine.dispatch(|pick| match pick.thread {
            thread if thread == id(11) => (5, End::Parked),
            _ => (100, End::Preempted),
        }) != Some(id(11))
        {
            dispatches += 1;
            assert!(dispatches <= 2);
        }
        for _ in 0..5 {
            machine.dispatch(|_| (100, End::Preempted));
        }
        machine.wake(id(11));
    }
}

#[test]
fn a_heavy_thread_is_served_evenly_while_others_nap() {
    let mut chance = Chance::new(1);
    let mut machine = Machine::new(Box::new(WeightedFair::new(100)));
    machine.spawn(0, &weighing(100));
    for number in 1..=150 {
        machine.spawn(number, &weighing(1));
    }
    let (mut others_in_a_row, mut own_in_a_row) = (0, 0);
    for _ in 0..20_000 {
        machine.wake(id(100 + chance.up_to(50)));
        let thread = machine.dispatch(|pick| match pick.thread.as_u64() {
            ..=100 => (100, End::Preempted),
            _ => (chance.up_to(100), End::Parked),
        });
        if thread == Some(id(0)) {
            (others_in_a_row, own_in_a_row) = (0, own_in_a_row + 1);
        } else {
            (others_in_a_row, own_in_a_row) = (others_in_a_row + 1, 0);
        }
        assert!(others_in_a_row <= 10 && own_in_a_row <= 2);
    }
    // 100 of 200 to 250.
    assert!((40..=50).contains(&(machine.got(0) * 100 / machine.now)));
}
