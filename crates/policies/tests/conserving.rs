//! No policy loses a thread, gives one twice, idles beside a runnable one, or
//! panics, whatever it is told.

use crate::sim::{End, Machine, State, id, params, policies};
use proptest::prelude::*;
use wasmtime::preempt::ThreadParams;

#[derive(Clone, Debug)]
enum Op {
    Spawn(u64, ThreadParams),
    Wake(u64),
    Change(u64, ThreadParams),
    End(u64, u64, End),
    Next,
    /// Ends a dispatch that there is.
    EndRunning(u64, End),
    Time(u64),
}

fn any_params() -> impl Strategy<Value = ThreadParams> {
    let weight = prop_oneof![0..4_u32, Just(u32::MAX)];
    let deadline = prop_oneof![Just(None), (0..50_u64).prop_map(Some), Just(Some(u64::MAX))];
    (weight, -2..3_i32, 0..3_u64, deadline).prop_map(|(weight, priority, group, deadline)| {
        params(|params| {
            params.weight = weight;
            params.priority = priority;
            params.group = group;
            params.deadline = deadline;
        })
    })
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Preempted),
        Just(End::Yielded),
        Just(End::Parked),
        Just(End::Finished)
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let thread = 0..8_u64;
    let used = prop_oneof![8 => 0..30_u64, 1 => Just(u64::MAX)];
    prop_oneof![
        3 => (thread.clone(), any_params()).prop_map(|(t, p)| Op::Spawn(t, p)),
        2 => thread.clone().prop_map(Op::Wake),
        2 => (thread.clone(), any_params()).prop_map(|(t, p)| Op::Change(t, p)),
        2 => (thread, used.clone(), any_end()).prop_map(|(t, u, e)| Op::End(t, u, e)),
        6 => Just(Op::Next),
        6 => (used, any_end()).prop_map(|(u, e)| Op::EndRunning(u, e)),
        1 => prop_oneof![8 => 0..200_u64, 1 => Just(u64::MAX)].prop_map(Op::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_runnable_thread_is_given_exactly_once(
        ops in prop::collection::vec(any_op(), 0..300),
    ) {
        for (name, policy) in policies() {
            let mut machine = Machine::new(policy);
            for op in &ops {
                match op {
                    Op::Spawn(thread, params) => machine.spawn(*thread, params),
                    Op::Wake(thread) => machine.wake(id(*thread)),
                    Op::Change(thread, params) => machine.change(id(*thread), params),
                    Op::End(thread, used, end) => machine.end(id(*thread), *used, *end),
                    Op::Next => drop(machine.next()),
                    Op::EndRunning(used, end) => {
                        let mut all = machine.threads.iter();
                        let running = all.find(|(_, at)| at.state == State::Running);
                        if let Some((&thread, _)) = running {
                            machine.end(thread, *used, *end);
                        }
                    }
                    // Back, too: clocks should not go back, and some do.
                    Op::Time(now) => machine.now = *now,
                }
            }
            while machine.next().is_some() {}
            prop_assert_eq!(machine.ready().count(), 0, "{}", name);
        }
    }
}

#[test]
fn calls_for_threads_that_never_were_are_ignored() {
    for (name, policy) in policies() {
        let mut machine = Machine::new(policy);
        for end in [End::Preempted, End::Yielded, End::Parked, End::Finished] {
            machine.end(id(1), 5, end);
        }
        machine.wake(id(1));
        machine.change(id(1), &ThreadParams::default());
        assert_eq!(machine.next(), None, "{name}");
    }
}

#[test]
fn a_thread_that_is_woken_while_it_runs_is_not_given_again() {
    for (name, policy) in policies() {
        let mut machine = Machine::new(policy);
        machine.spawn(1, &ThreadParams::default());
        machine.next();
        machine.wake(id(1));
        assert_eq!(machine.next(), None, "{name}");
    }
}
