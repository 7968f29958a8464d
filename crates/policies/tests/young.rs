//! New threads run first, and get no more than half of the time of those that are not new.

use crate::sim::{Chance, End, Machine, id};
use preempt_policies::{RoundRobin, YoungFirst};
use proptest::prelude::*;
use wasmtime::preempt::ThreadParams;

const MOST: u64 = 100;

fn machine(allowance: u64) -> Machine<YoungFirst<RoundRobin>> {
    Machine::new(Box::new(YoungFirst::new(RoundRobin::new(), allowance)))
}

/// Spawns a thread and lets it grow old.
fn spawn_old(machine: &mut Machine<YoungFirst<RoundRobin>>, number: u64, allowance: u64) {
    machine.spawn(number, &ThreadParams::default());
    while machine.got(number) < allowance {
        machine.dispatch(|_| (MOST, End::Preempted));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn new_threads_go_first_and_older_ones_get_half(
        old in 1..5_u64, allowance in 1..2000_u64, seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = machine(allowance);
        for number in 0..old {
            spawn_old(&mut machine, number, allowance);
        }
        // Until they have had as much.
        let start = machine.now;
        while machine.now - start < allowance + MOST {
            machine.dispatch(|_| (MOST, End::Preempted));
        }
        let mut of_new = 0_u64;
        let mut next = old;
        for _ in 0..2000 {
            if chance.one_in(3) {
                machine.spawn(next, &ThreadParams::default());
                next += 1;
            }
            let is_new = |number: u64, got: u64| number >= old && got < allowance;
            let anyone_new = machine
                .ready()
                .any(|(thread, at)| is_new(thread.as_u64(), at.got));
            let before = machine.threads.clone();
            let mut used = 0;
            let picked = machine.dispatch(|pick| {
                used = chance.up_to(MOST);
                let is_old = pick.thread.as_u64() < old;
                let end = if !is_old && chance.one_in(4) { End::Finished } else { End::Preempted };
                (used, end)
            });
            let was_new = picked.is_some_and(|thread| is_new(thread.as_u64(), before[&thread].got));
            if anyone_new && of_new <= allowance {
                prop_assert!(was_new, "{picked:?} before a new one, at {of_new}");
            }
            of_new = match was_new {
                true => of_new + used,
                false => of_new.saturating_sub(used),
            };
            prop_assert!(of_new <= allowance + MOST, "{of_new} ahead of the older ones");
        }
    }
}

#[test]
fn new_threads_take_turns() {
    let mut machine = machine(1000);
    for number in 0..3 {
        machine.spawn(number, &ThreadParams::default());
    }
    for _ in 0..5 {
        for number in 0..3 {
            let picked = machine.dispatch(|_| (10, End::Preempted));
            assert_eq!(picked, Some(id(number)));
        }
    }
}

#[test]
fn a_thread_that_waits_is_new_until_it_has_used_its_allowance() {
    let mut machine = machine(100);
    spawn_old(&mut machine, 0, 100);
    machine.dispatch(|_| (MOST, End::Preempted));
    machine.spawn(1, &ThreadParams::default());
    for _ in 0..5 {
        assert_eq!(machine.dispatch(|_| (20, End::Parked)), Some(id(1)));
        assert_eq!(machine.dispatch(|_| (20, End::Preempted)), Some(id(0)));
        machine.wake(id(1));
    }
    // It is the last in the queue now.
    assert_eq!(machine.dispatch(|_| (20, End::Preempted)), Some(id(0)));
}

#[test]
fn one_that_yields_without_end_is_not_new_for_long() {
    let mut machine = machine(1600);
    spawn_old(&mut machine, 0, 1600);
    machine.spawn(1, &ThreadParams::default());
    let mut of_new = 0;
    for _ in 0..100 {
        let picked = machine.dispatch(|_| (1, End::Yielded));
        of_new += usize::from(picked == Some(id(1)));
    }
    assert!((40..=60).contains(&of_new), "{of_new}");
}

#[test]
fn without_an_allowance_nobody_is_new() {
    let mut machine = machine(0);
    let mut alone = Machine::new(Box::new(RoundRobin::new()));
    for number in 0..20 {
        machine.spawn(number, &ThreadParams::default());
        alone.spawn(number, &ThreadParams::default());
        for end in [End::Preempted, End::Yielded, End::Parked] {
            let picked = machine.dispatch(|_| (1, end));
            assert_eq!(picked, alone.dispatch(|_| (1, end)));
        }
    }
}
