//! Threads that have finished leave nothing behind.

use crate::sim::{Chance, End, Machine, State, id, params, policies};

#[test]
fn a_policy_whose_threads_have_finished_is_as_small_as_a_new_one() {
    for (name, policy) in policies() {
        let mut chance = Chance::new(1);
        let mut machine = Machine::new(policy);
        let new = format!("{:?}", machine.policy).len();
        for number in 1..=2000 {
            machine.spawn(
                number,
                &params(|params| {
                    params.weight = 1 + u32::try_from(number % 5).unwrap();
                    params.priority = i32::try_from(number % 3).unwrap();
                    params.group = number % 7;
                    params.deadline = (number % 2 == 0).then_some(number);
                }),
            );
            machine.wake(id(chance.up_to(number)));
            machine.dispatch(|_| {
                let end = match chance.up_to(6) {
                    1 => End::Finished,
                    2 => End::Parked,
                    3 => End::Yielded,
                    _ => End::Preempted,
                };
                (chance.up_to(20), end)
            });
        }
        assert!(format!("{:?}", machine.policy).len() > 10 * new, "{name}");
        while let Some((&thread, _)) = machine.threads.last_key_value() {
            machine.end(thread, 1, End::Finished);
        }
        let empty = format!("{:?}", machine.policy).len();
        // Counters have grown by some digits, and `Replay` has diverged.
        assert!(empty <= new + 200, "{name}: {empty} after {new}");
    }
}

#[test]
fn threads_that_are_killed_in_the_queue_do_not_pile_up() {
    for (name, policy) in policies() {
        let mut machine = Machine::new(policy);
        machine.spawn(0, &params(|_| ()));
        let new = format!("{:?}", machine.policy).len();
        for number in 1..5000 {
            machine.spawn(number, &params(|_| ()));
            machine.end(id(number), 0, End::Finished);
        }
        assert_eq!(machine.threads[&id(0)].state, State::Ready);
        let after = format!("{:?}", machine.policy).len();
        assert!(after <= new + 2000, "{name}: {after} after {new}");
    }
}
