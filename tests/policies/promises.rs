//! What each policy promises about who is next.

use super::{assert_clean, short_ticks};
use crate::support::*;
use preempt_policies::{EarliestDeadlineFirst, Priority};
use preempt_trace::check::Order;
use preempt_trace::stats::Stats;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn strict_priorities_are_kept() {
    let spawn_by_priority = |store: &mut Store<()>, module: &Module| -> BTreeMap<ThreadId, i64> {
        let spawn = |priority: i32| {
            let options = ThreadOptions::new().priority(priority);
            let params = [Val::I64(3_000)];
            let id = spawn_with(store, module, "sum", &params, options);
            (id, i64::from(priority))
        };
        [0, 5, -3, 5, 2].map(spawn).into()
    };
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(Priority::strict())
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let priorities = spawn_by_priority(&mut store, &module);
    let checker = checker(Preemption::Fuel).all_finished(true);
    let checker = checker.order(Order::Priorities(priorities.clone()));
    let first = *priorities
        .iter()
        .find(|(_, priority)| **priority == 5)
        .unwrap()
        .0;

    // The most important one is suspended in the first run, and comes back.
    first.suspend(&mut store).unwrap();
    assert_eq!(
        store.run_wasm_threads_for(Duration::MAX).unwrap().end,
        RunEnd::AllSuspended
    );
    first.resume(&mut store).unwrap();
    spawn_with(&mut store, &module, "answer", &[], ThreadOptions::new());
    run_all(&mut store);
    assert_clean(&checker, &mut store, "strict");

    // Round robin is not by priority: the checker would have seen it.
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    assert_eq!(spawn_by_priority(&mut store, &module), priorities);
    run_all(&mut store);
    let trace = store.wasm_threads().take_trace().unwrap();
    assert!(!checker.check(&trace).is_ok());
}

#[test]
fn patience_bounds_the_wait_of_the_least_important() {
    const PATIENCE: u64 = 20_000;
    const THREADS: u64 = 6;
    let slice = short_ticks(Preemption::Fuel);
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(Priority::new(PATIENCE))
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    for priority in 0..THREADS as i32 {
        let options = ThreadOptions::new().priority(priority);
        spawn_with(&mut store, &module, "sum", &[Val::I64(20_000)], options);
    }
    run_all(&mut store);
    let trace = assert_clean(&checker(Preemption::Fuel), &mut store, "aging");
    let longest = Stats::of(&trace).threads[0].longest_wait;
    let bound = PATIENCE + 2 * THREADS * (slice + BETWEEN_CHECKS);
    assert!((PATIENCE..=bound).contains(&longest), "{longest}, {bound}");
}

#[test]
fn the_earliest_deadline_is_first() {
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(EarliestDeadlineFirst::new())
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let deadlines = [None, Some(400_000), Some(100_000), None, Some(200_000)];
    let ids = deadlines.map(|deadline| {
        let options = match deadline {
            Some(ticks) => ThreadOptions::new().deadline(ticks),
            None => ThreadOptions::new(),
        };
        spawn_with(&mut store, &module, "sum", &[Val::I64(3_000)], options)
    });
    run_all(&mut store);
    let trace = assert_clean(&checker(Preemption::Fuel), &mut store, "deadlines");
    let returned = trace
        .events
        .iter()
        .filter(|event| event.what == Traced::Returned);
    let order: Vec<_> = returned.map(|event| event.thread).collect();
    // Those without one come last, in turns.
    assert_eq!(order, [2, 4, 1, 0, 3].map(|n: usize| ids[n]));
}
