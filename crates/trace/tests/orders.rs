//! The checker knows whose turn it was.

use crate::support::*;
use preempt_trace::check::{Checker, Order, OrderRule, Violation, Wrong};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};
use wasmtime::ThreadId;
use wasmtime::preempt::Traced::*;
use wasmtime::preempt::{Trace, Traced};

fn out_of_order(trace: &Trace, order: Order) -> Vec<(u64, u64)> {
    let report = Checker::new().order(order).check(trace);
    let found = report.violations.iter().map(|v| match v.wrong {
        Wrong::OutOfOrder { due } => (v.thread.as_u64(), due.as_u64()),
        _ => panic!("{report}"),
    });
    found.collect()
}

/// Three ready threads, dispatched in this order.
fn dispatched(order: &[u64]) -> Trace {
    let mut events = vec![(0, 1, Spawned), (0, 2, Spawned), (0, 3, Spawned)];
    events.push((0, 0, RunStarted));
    for thread in order {
        events.extend([(0, *thread, slice(1)), (0, *thread, Preempted)]);
    }
    trace(&events)
}

#[test]
fn round_robin_is_first_come_first_served() {
    let check = |order: &[u64]| out_of_order(&dispatched(order), Order::RoundRobin);
    assert_eq!(check(&[1, 2, 3, 1, 2, 3]), []);
    assert_eq!(check(&[1, 3, 2, 1]), [(3, 2)]);
    assert_eq!(check(&[1, 1]), [(1, 2)]);
}

#[test]
fn greater_priority_goes_first_and_equals_in_any_order() {
    let priorities = BTreeMap::from([(id(1), -1), (id(3), 5)]);
    let check = |order: &[u64]| {
        let order_of = Order::Priorities(priorities.clone());
        out_of_order(&dispatched(order), order_of)
    };
    assert_eq!(check(&[3, 3, 3]), []);
    assert_eq!(check(&[3, 2]), [(2, 3)]);
    assert_eq!(check(&[1]), [(1, 3)]);
    let equal = Order::Priorities(BTreeMap::new());
    assert_eq!(out_of_order(&dispatched(&[2, 2, 1, 3]), equal), []);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn turn_out_of_order_is_reported(schedule in round_robin(), index: Index) {
        let mut trace = schedule.trace;
        let swaps = swaps(&trace);
        prop_assume!(!swaps.is_empty());
        let (first, a, b) = *index.get(&swaps);
        // The two change places from there on.
        for event in &mut trace.events[first..] {
            event.thread = match event.thread {
                thread if thread == a => b,
                thread if thread == b => a,
                thread => thread,
            };
        }
        let report = Checker::new().order(Order::RoundRobin).check(&trace);
        let expected = Violation {
            index: first,
            at: trace.events[first].at,
            thread: b,
            wrong: Wrong::OutOfOrder { due: a },
        };
        prop_assert!(report.violations.contains(&expected), "{report}");
    }
}

/// Dispatches, each with its thread and another one that is ready then.
fn swaps(trace: &Trace) -> Vec<(usize, ThreadId, ThreadId)> {
    let mut ready = BTreeSet::new();
    let mut swaps = Vec::new();
    for (index, event) in trace.events.iter().enumerate() {
        match event.what {
            Spawned | Preempted | Yielded | Woken => {
                ready.insert(event.thread);
            }
            _ => {
                ready.remove(&event.thread);
            }
        }
        if is_dispatch(event) {
            swaps.extend(ready.iter().map(|other| (index, event.thread, *other)));
        }
    }
    swaps
}

/// The last that became ready goes first.
#[derive(Default)]
struct LastFirst(Vec<ThreadId>);

impl OrderRule for LastFirst {
    fn ready(&mut self, thread: ThreadId, _: Traced) {
        self.0.push(thread);
    }

    fn gone(&mut self, thread: ThreadId) {
        self.0.retain(|ready| *ready != thread);
    }

    fn dispatched(&mut self, thread: ThreadId) -> Option<ThreadId> {
        let last = self.0.last().copied().filter(|last| *last != thread);
        self.gone(thread);
        last
    }
}

#[test]
fn rule_of_ones_own_is_checked() {
    let check = |order: &[u64]| {
        let report = Checker::new().check_with(&dispatched(order), &mut LastFirst::default());
        report.violations.len()
    };
    assert_eq!(check(&[3, 3, 3]), 0);
    assert_eq!(check(&[1]), 1);
}
