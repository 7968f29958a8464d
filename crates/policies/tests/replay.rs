//! What was recorded is picked again, and guests that do something else are
//! run all the same.

use crate::sim::{Chance, End, Machine, id, params};
use preempt_policies::{
    DivergenceReason, EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin,
    Schedule, WeightedFair,
};
use proptest::prelude::*;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Guests whose every step depends on the picks before it, so that one wrong pick
/// changes all that follows.
fn run<S: ThreadScheduler>(policy: S, seed: u64) -> (Machine<S>, Vec<Pick>) {
    let mut machine = Machine::new(Box::new(policy));
    let mut state = seed;
    let mut picks = Vec::new();
    for number in 1..=6 {
        machine.spawn(number, &of(number));
    }
    let mut spawned = 6;
    for _ in 0..300 {
        let mut chance = Chance::new(state);
        if chance.one_in(12) {
            spawned += 1;
            machine.spawn(spawned, &of(spawned));
        }
        machine.wake(id(chance.up_to(spawned)));
        machine.dispatch(|pick| {
            picks.push(pick);
            state = state.wrapping_mul(31).wrapping_add(pick.thread.as_u64());
            let end = match chance.up_to(10) {
                1 => End::Finished,
                2 | 3 => End::Parked,
                4 => End::Yielded,
                _ => End::Preempted,
            };
            (chance.up_to(pick.slice.unwrap_or(30)), end)
        });
    }
    (machine, picks)
}

fn of(number: u64) -> ThreadParams {
    params(|params| {
        params.weight = u32::try_from(number % 4).unwrap() + 1;
        params.priority = i32::try_from(number % 3).unwrap();
        params.group = number % 2;
        params.deadline = number.is_multiple_of(2).then_some(number * 50);
    })
}

fn check_replay<S: ThreadScheduler>(policy: S, seed: u64) {
    let (machine, picks) = run(Recorder::new(policy), seed);
    let text = machine.policy.schedule().to_string();
    let schedule: Schedule = text.parse().unwrap();
    assert_eq!(&schedule, machine.policy.schedule());
    assert!(schedule.iter().eq(picks.iter().copied()));

    let (machine, again) = run(Replay::new(schedule), seed);
    assert_eq!(again, picks);
    assert_eq!(machine.policy.divergence(), None);
    assert_eq!(machine.policy.remaining(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn makes_the_picks_of_every_policy_again(seed: u64) {
        check_replay(RoundRobin::new(), seed);
        check_replay(WeightedFair::new(30), seed);
        check_replay(Priority::new(200), seed);
        check_replay(EarliestDeadlineFirst::new(), seed);
        check_replay(Random::seeded(seed).slices(1..=30), seed);
        check_replay(Pct::new(seed, 10, 300, 5), seed);
    }

    #[test]
    fn loses_no_thread_of_guests_that_differ_from_the_recording(seed: u64, other: u64) {
        let (machine, _) = run(Recorder::new(Random::seeded(seed)), seed);
        let schedule = machine.policy.schedule().clone();
        let (mut machine, _) = run(Replay::new(schedule), other);
        while machine.next().is_some() {}
        prop_assert_eq!(machine.ready().count(), 0);
    }
}

fn replay(picks: &str) -> Machine<Replay> {
    let count = picks.split_whitespace().count();
    let text = format!("preempt-schedule 1\npicks {count}\n{picks}\n");
    let mut machine = Machine::new(Box::new(Replay::new(text.parse().unwrap())));
    for number in 1..=3 {
        machine.spawn(number, &ThreadParams::default());
    }
    machine
}

fn dispatch(machine: &mut Machine<Replay>, end: End) -> u64 {
    machine.dispatch(|_| (1, end)).unwrap().as_u64()
}

fn diverged(machine: &Machine<Replay>) -> Option<(u64, DivergenceReason)> {
    let divergence = machine.policy.divergence()?;
    Some((divergence.pick, divergence.reason))
}

#[test]
fn tells_of_a_thread_that_is_not_there() {
    let mut machine = replay("3 9 3");
    assert_eq!(dispatch(&mut machine, End::Preempted), 3);
    assert_eq!(diverged(&machine), None);
    // Round robin from here.
    for number in [1, 2, 3, 1] {
        assert_eq!(dispatch(&mut machine, End::Preempted), number);
    }
    let reason = DivergenceReason::NoSuchThread(id(9));
    assert_eq!(diverged(&machine), Some((1, reason)));
    assert_eq!(
        machine.policy.divergence().unwrap().to_string(),
        "the replay left the schedule after 1 picks: thread 9 is next, and there is no such thread"
    );
}

#[test]
fn tells_of_a_thread_that_is_parked() {
    let mut machine = replay("2 2");
    dispatch(&mut machine, End::Parked);
    assert_eq!(dispatch(&mut machine, End::Preempted), 1);
    assert_eq!(
        diverged(&machine),
        Some((1, DivergenceReason::Parked(id(2))))
    );
}

#[test]
fn tells_of_a_thread_that_runs_already() {
    let mut machine = replay("2 2");
    machine.next();
    machine.next();
    assert_eq!(
        diverged(&machine),
        Some((1, DivergenceReason::Running(id(2))))
    );
}

#[test]
fn tells_that_the_schedule_is_over() {
    let mut machine = replay("2 1:5");
    dispatch(&mut machine, End::Preempted);
    dispatch(&mut machine, End::Preempted);
    assert_eq!(diverged(&machine), None);
    dispatch(&mut machine, End::Preempted);
    assert_eq!(
        diverged(&machine),
        Some((2, DivergenceReason::ScheduleOver))
    );
}

#[test]
fn waits_while_no_thread_is_runnable() {
    let mut machine = replay("2 1 3 1 2");
    for _ in 0..3 {
        dispatch(&mut machine, End::Parked);
    }
    assert_eq!(machine.next(), None);
    machine.wake(id(1));
    assert_eq!(dispatch(&mut machine, End::Finished), 1);
    assert_eq!(diverged(&machine), None);
    assert_eq!(machine.policy.remaining(), 1);
}

#[test]
fn a_recording_can_be_taken_while_it_goes_on() {
    let mut policy = Recorder::new(RoundRobin::new());
    policy.spawned(0, id(1), &ThreadParams::default());
    policy.next(0);
    assert_eq!(policy.take_schedule().len(), 1);
    policy.preempted(5, id(1), 5);
    policy.next(5);
    let (_, schedule) = policy.into_parts();
    assert_eq!(schedule.len(), 1);
}
