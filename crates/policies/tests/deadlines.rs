//! Deadlines are met when there is time enough, and the background waits.

use crate::sim::{Chance, End, Machine, State, id, params};
use preempt_policies::EarliestDeadlineFirst;
use proptest::prelude::*;
use std::collections::BTreeMap;
use wasmtime::preempt::ThreadParams;

const SLICE: u64 = 100;

fn due_in(ticks: u64) -> ThreadParams {
    params(|params| params.deadline = Some(ticks))
}

/// A thread that is woken once per period at most, and then works for `cost`.
struct Task {
    period: u64,
    cost: u64,
    left: u64,
    due: u64,
    /// When it is woken, if it is parked by then.
    release: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn are_met_within_a_slice_when_utilization_is_at_most_one(
        weights in prop::collection::vec((1..100_u64, 300..20_000_u64), 1..12),
        utilization in prop_oneof![Just(1000_u64), 500..1000_u64],
        background in 0..3_u64,
        seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
        let all: u64 = weights.iter().map(|(weight, _)| weight).sum();
        let mut tasks = BTreeMap::new();
        for (number, &(weight, period)) in (0..).zip(&weights) {
            // Rounded down: the sum of cost / period is at most the utilization.
            let cost = period * weight * utilization / all / 1000;
            if cost > 0 {
                machine.spawn(number, &due_in(period));
                let task = Task { period, cost, left: cost, due: period, release: period };
                tasks.insert(id(number), task);
            }
        }
        for number in 0..background {
            machine.spawn(100 + number, &ThreadParams::default());
        }
        while machine.now < 100_000 {
            let start = machine.now;
            let picked = machine.next().map(|pick| pick.thread);
            let left = picked.and_then(|thread| tasks.get(&thread)).map(|task| task.left);
            let used = SLICE.min(left.unwrap_or(SLICE));
            // Others become runnable in the middle of it.
            for (&thread, task) in &mut tasks {
                let parked = machine.threads[&thread].state == State::Parked;
                if parked && task.release <= start + used {
                    machine.now = start.max(task.release);
                    machine.wake(thread);
                    task.left = task.cost;
                    task.due = machine.now + task.period;
                    let late = if chance.one_in(2) { 0 } else { chance.up_to(task.period) };
                    task.release = task.due + late;
                }
            }
            machine.now = start + used;
            let Some(thread) = picked else { continue };
            let mut end = End::Preempted;
            if let Some(task) = tasks.get_mut(&thread) {
                task.left -= used;
                if task.left == 0 {
                    end = End::Parked;
                    let late = machine.now.saturating_sub(task.due);
                    prop_assert!(late <= SLICE, "{thread} is late by {late}");
                }
            }
            machine.end(thread, used, end);
        }
    }

    #[test]
    fn of_runnable_threads_the_earliest_is_picked(
        deadlines in prop::collection::vec(prop::option::of(0..5000_u64), 1..20), seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
        let mut due = Vec::new();
        for (number, &deadline) in (0..).zip(&deadlines) {
            machine.now += chance.up_to(300);
            due.push(deadline.map(|ticks| machine.now + ticks));
            machine.spawn(number, &params(|params| params.deadline = deadline));
        }
        let place = |due: &[Option<u64>], thread: u64| {
            due[usize::try_from(thread).unwrap()].unwrap_or(u64::MAX)
        };
        for _ in 0..500 {
            let number = chance.up_to(deadlines.len() as u64) - 1;
            let index = usize::try_from(number).unwrap();
            if machine.threads[&id(number)].state == State::Parked {
                due[index] = deadlines[index].map(|ticks| machine.now + ticks);
            }
            machine.wake(id(number));
            let earliest = machine.ready().map(|(thread, _)| place(&due, thread.as_u64())).min();
            let end = if chance.one_in(4) { End::Parked } else { End::Preempted };
            let picked = machine.dispatch(|_| (chance.up_to(SLICE), end));
            prop_assert_eq!(picked.map(|thread| place(&due, thread.as_u64())), earliest);
        }
    }
}

#[test]
fn a_thread_that_is_overdue_goes_on_being_earliest() {
    let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
    machine.spawn(1, &due_in(50));
    machine.spawn(2, &due_in(60));
    for _ in 0..10 {
        assert_eq!(machine.dispatch(|_| (SLICE, End::Preempted)), Some(id(1)));
    }
}

#[test]
fn the_background_takes_turns() {
    let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
    for number in 0..3 {
        machine.spawn(number, &ThreadParams::default());
    }
    for turn in 0..9 {
        assert_eq!(
            machine.dispatch(|_| (SLICE, End::Preempted)),
            Some(id(turn % 3))
        );
    }
}

#[test]
fn a_deadline_that_is_changed_counts_from_when_the_work_began() {
    let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
    machine.spawn(1, &due_in(1000));
    machine.spawn(2, &due_in(2000));
    machine.now = 500;
    machine.change(id(2), &due_in(900));
    assert_eq!(machine.dispatch(|_| (SLICE, End::Parked)), Some(id(2)));
}

#[test]
fn a_thread_that_yields_is_passed_over_for_one_turn() {
    for end in [End::Preempted, End::Parked, End::Finished] {
        let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
        for number in 1..=3 {
            machine.spawn(number, &due_in(number * 1000));
        }
        assert_eq!(machine.dispatch(|_| (1, End::Yielded)), Some(id(1)));
        assert_eq!(machine.dispatch(|_| (SLICE, end)), Some(id(2)));
        assert_eq!(machine.dispatch(|_| (SLICE, end)), Some(id(1)));
    }
}

#[test]
fn threads_that_yield_to_each_other_let_all_others_run() {
    let mut machine = Machine::new(Box::new(EarliestDeadlineFirst::new()));
    machine.spawn(1, &due_in(10));
    machine.spawn(2, &due_in(20));
    machine.spawn(3, &due_in(5000));
    machine.spawn(4, &ThreadParams::default());
    let waits_for_4 = |pick: wasmtime::preempt::Pick| match pick.thread.as_u64() {
        4 => (SLICE, End::Finished),
        3 => (SLICE, End::Parked),
        _ => (1, End::Yielded),
    };
    for _ in 0..10 {
        machine.dispatch(waits_for_4);
    }
    assert!(!machine.threads.contains_key(&id(4)));
}
