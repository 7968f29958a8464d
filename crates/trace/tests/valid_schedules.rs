//! The checker accepts what a correct scheduler does.

use crate::support::*;
use preempt_trace::check::{Checker, Order};
use proptest::prelude::*;
use wasmtime::preempt::Traced::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn valid_schedules_are_accepted(schedule in schedules()) {
        let order = match schedule.priorities.is_empty() {
            true => Order::RoundRobin,
            false => Order::Priorities(schedule.priorities.clone()),
        };
        let report = Checker::new().order(order).all_finished(true).check(&schedule.trace);
        prop_assert!(report.is_ok(), "{report}");

        let events = &schedule.trace.events;
        prop_assert_eq!(report.events, events.len());
        prop_assert_eq!(report.dispatches, events.iter().filter(|e| is_dispatch(e)).count());
        prop_assert_eq!(report.threads, cpu_times(&schedule.trace).len());
    }
}

#[test]
fn report_measures_slices_and_waits_within_runs() {
    let trace = trace(&[
        (0, 1, Spawned),
        (0, 2, Spawned),
        (100, 0, RunStarted),
        (103, 1, slice(50)),
        (150, 1, Preempted),
        (160, 2, slice(50)),
        (170, 2, Parked),
        (170, 0, RunEnded),
        (900, 0, RunStarted),
        (910, 1, slice(50)),
        (911, 2, Woken),
        (950, 1, Returned),
        (950, 2, slice(50)),
        (960, 2, Killed),
        (960, 0, RunEnded),
    ]);
    let report = Checker::new().all_finished(true).check(&trace);
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.longest_slice, report.longest_wait), (47, 60));
    assert_eq!(
        report.to_string(),
        "15 events, 4 dispatches, 2 threads; longest slice 47 ns, longest wait 60 ns; no violation"
    );
}

#[test]
fn trace_may_end_while_a_thread_is_on_the_cpu() {
    let trace = trace(&[(0, 1, Spawned), (0, 0, RunStarted), (0, 1, slice(5))]);
    assert!(Checker::new().check(&trace).is_ok());
    let report = Checker::new().all_finished(true).check(&trace);
    assert_eq!(report.violations.len(), 2, "{report}");
}

#[test]
fn nothing_is_a_valid_schedule() {
    let report = Checker::new().all_finished(true).check(&trace(&[]));
    assert!(report.is_ok());
    assert_eq!((report.events, report.threads), (0, 0));
}
