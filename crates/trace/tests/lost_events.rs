//! A trace whose beginning is lost: what can be known is.

use crate::support::*;
use preempt_trace::check::{Checker, Order};
use preempt_trace::stats::Stats;
use proptest::prelude::*;
use proptest::sample::Index;
use wasmtime::preempt::Trace;
use wasmtime::preempt::Traced::*;

fn lost(trace: Trace) -> Trace {
    Trace { lost: 1, ..trace }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_end_of_a_valid_schedule_is_accepted(schedule in schedules(), cut: Index) {
        let order = match schedule.priorities.is_empty() {
            true => Order::RoundRobin,
            false => Order::Priorities(schedule.priorities.clone()),
        };
        let mut trace = schedule.trace;
        let cut = cut.index(trace.events.len());
        trace.events.drain(..cut);
        trace.lost = cut as u64;
        let report = Checker::new().order(order).all_finished(true).check(&trace);
        prop_assert!(report.is_ok(), "{report}");
    }

    /// The slice that was on at the cut is counted from there.
    #[test]
    fn cpu_time_after_the_cut_is_counted(schedule in schedules(), cut: Index) {
        let mut trace = schedule.trace;
        let cut = cut.index(trace.events.len());
        let before = trace.events.drain(..cut).rfind(is_dispatch);
        trace.lost = cut as u64;
        let start = trace.events[0].at;
        let mut whole = trace.clone();
        // Unless nothing of that slice is left, or only that it was parked or
        // stopped, which happens to ready threads too.
        if let Some(before) = before {
            let end = trace.events.iter().find(|e| e.thread == before.thread);
            let running = end.is_some_and(|e| matches!(e.what, Preempted | Yielded | Returned));
            if running {
                whole.events.insert(0, event(start, before.thread.as_u64(), slice(1)));
            }
        }
        let expected = cpu_times(&whole);
        for thread in &Stats::of(&trace).threads {
            prop_assert_eq!(thread.cpu, expected[&thread.thread], "{}", thread.thread);
        }
    }
}

#[test]
fn unknown_threads_may_do_what_explains_them() {
    for first in [
        Preempted,
        Yielded,
        Parked,
        Woken,
        Returned,
        Trapped,
        slice(5),
    ] {
        let trace = lost(trace(&[(5, 7, first)]));
        assert!(Checker::new().check(&trace).is_ok(), "{first:?}");
    }
}

#[test]
fn what_no_beginning_explains_is_reported() {
    let count = |events: &[_]| {
        let report = Checker::new().check(&lost(trace(events)));
        (report.violations.len(), report.to_string())
    };
    // Two threads cannot both have been running.
    let (found, report) = count(&[(5, 7, Preempted), (5, 8, Preempted)]);
    assert_eq!(found, 1, "{report}");
    assert!(
        report.contains("thread 8 is in an unknown state and cannot be preempted"),
        "{report}"
    );
    // Nor one, if another was dispatched.
    let (found, report) = count(&[(5, 7, slice(9)), (6, 7, Yielded), (6, 8, Yielded)]);
    assert_eq!(found, 1, "{report}");
    // Before the first run no run was on.
    let (found, report) = count(&[(5, 7, slice(9)), (6, 7, Parked), (7, 0, RunStarted)]);
    assert_eq!(found, 1, "{report}");
    // What is known is known.
    let (found, report) = count(&[(5, 7, Killed), (6, 7, slice(9))]);
    assert_eq!(found, 1, "{report}");
    let (found, report) = count(&[(5, 8, Woken), (5, 7, slice(9)), (16, 7, Preempted)]);
    assert_eq!(found, 1, "{report}");
    assert!(report.contains("1 older events are lost"), "{report}");
}

#[test]
fn time_before_the_first_event_of_a_thread_counts() {
    let stats = Stats::of(&lost(trace(&[
        (100, 3, Woken),
        (110, 1, Preempted),
        (120, 2, slice(50)),
        (150, 2, Parked),
        (160, 0, RunEnded),
    ])));
    let [one, two, three] = &stats.threads[..] else {
        panic!("{stats}");
    };
    assert_eq!(
        (one.cpu, one.slices, one.preemptions, one.waiting),
        (10, 1, 1, 50)
    );
    assert_eq!((two.cpu, two.waiting, two.longest_wait), (30, 20, 20));
    assert_eq!((three.parked, three.waiting), (0, 60));
    assert_eq!(stats.in_runs, 60);
}
