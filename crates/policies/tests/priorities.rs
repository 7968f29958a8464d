//! The highest priority runs, its threads take turns, and nobody starves.

use crate::sim::{Chance, End, Machine, id, params};
use preempt_policies::Priority;
use proptest::prelude::*;
use wasmtime::preempt::ThreadParams;

const MOST: u64 = 100;

fn of(priority: i32) -> ThreadParams {
    params(|params| params.priority = priority)
}

fn any_end(chance: &mut Chance) -> End {
    match chance.up_to(8) {
        1 | 2 => End::Parked,
        3 => End::Yielded,
        _ => End::Preempted,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn without_aging_the_order_is_strict(
        priorities in prop::collection::vec(-3..3_i32, 1..20), seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(Priority::strict()));
        for (number, &priority) in (0..).zip(&priorities) {
            machine.spawn(number, &of(priority));
        }
        let any = |chance: &mut Chance| id(chance.up_to(priorities.len() as u64) - 1);
        for _ in 0..500 {
            machine.wake(any(&mut chance));
            if chance.one_in(5) {
                let priority = i32::try_from(chance.up_to(7)).unwrap() - 4;
                machine.change(any(&mut chance), &of(priority));
            }
            let highest = machine.ready().map(|(_, at)| at.params.priority).max();
            let end = any_end(&mut chance);
            let picked = machine.dispatch(|_| (chance.up_to(MOST), end));
            let picked = picked.map(|thread| machine.threads[&thread].params.priority);
            prop_assert_eq!(picked, highest);
        }
    }

    #[test]
    fn with_aging_waits_are_bounded_and_every_other_dispatch_is_in_order(
        priorities in prop::collection::vec(-3..3_i32, 1..20),
        patience in 0..5000_u64,
        seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(Priority::new(patience)));
        let count = priorities.len() as u64;
        for (number, &priority) in (0..).zip(&priorities) {
            machine.spawn(number, &of(priority));
        }
        let mut out_of_order = false;
        for _ in 0..1000 {
            machine.wake(id(chance.up_to(count) - 1));
            let highest = machine.ready().map(|(_, at)| at.params.priority).max();
            let longest = machine.ready().map(|(_, at)| machine.now - at.ready_since).max();
            prop_assert!(longest <= Some(patience + 2 * count * MOST));

            let end = any_end(&mut chance);
            let picked = machine.dispatch(|_| (chance.up_to(MOST), end));
            let picked = picked.map(|thread| machine.threads[&thread].params.priority);
            if picked == highest {
                out_of_order = false;
            } else {
                prop_assert!(longest > Some(patience), "nobody had to be let in");
                prop_assert!(!out_of_order, "twice on end");
                out_of_order = true;
            }
        }
    }
}

#[test]
fn threads_of_one_priority_take_turns() {
    let mut machine = Machine::new(Box::new(Priority::strict()));
    for number in 0..5 {
        machine.spawn(number, &of(1));
        machine.spawn(10 + number, &of(0));
    }
    for round in 0..20 {
        let end = [End::Preempted, End::Yielded][round % 2];
        for number in 0..5 {
            assert_eq!(machine.dispatch(|_| (10, end)), Some(id(number)));
        }
    }
}

#[test]
fn a_low_thread_gets_one_slice_when_its_patience_is_over() {
    let mut machine = Machine::new(Box::new(Priority::new(500)));
    machine.spawn(1, &of(5));
    machine.spawn(2, &of(0));
    let mut picks = Vec::new();
    for _ in 0..16 {
        picks.extend(machine.dispatch(|_| (100, End::Preempted)));
    }
    let of_low: Vec<_> = (0..16).filter(|&pick| picks[pick] == id(2)).collect();
    assert_eq!(of_low, [6, 13]);
}
