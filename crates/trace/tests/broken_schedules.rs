//! The checker reports each way in which a schedule can be wrong.

use crate::support::*;
use preempt_trace::check::{Checker, Report, State, Violation, Wrong};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashSet;
use wasmtime::preempt::Traced::*;
use wasmtime::preempt::{Trace, TraceEvent};

fn check(trace: &Trace) -> Report {
    Checker::new().all_finished(true).check(trace)
}

/// Checks that `report` holds this violation.
fn reports(
    report: &Report,
    index: usize,
    event: TraceEvent,
    wrong: Wrong,
) -> Result<(), TestCaseError> {
    let violation = Violation {
        index,
        at: event.at,
        thread: event.thread,
        wrong,
    };
    prop_assert!(
        report.violations.contains(&violation),
        "{violation}, not in:\n{report}"
    );
    Ok(())
}

/// One of the events that `which` chooses.
fn find(trace: &Trace, index: &Index, which: impl Fn(&TraceEvent) -> bool) -> Option<usize> {
    let events = trace.events.iter().enumerate();
    let found: Vec<usize> = events.filter(|(_, e)| which(e)).map(|(i, _)| i).collect();
    (!found.is_empty()).then(|| *index.get(&found))
}

/// Whether the trace without this event is that of another valid schedule.
fn valid_without(trace: &Trace, index: usize) -> bool {
    let event = trace.events[index];
    let same = |e: &&TraceEvent| e.thread == event.thread;
    let mut later = trace.events[index + 1..].iter();
    let Some(place) = later.position(|e| same(&e)) else {
        return false;
    };
    let next = trace.events[index + 1 + place];
    let between = &trace.events[index + 1..index + 1 + place];
    let cpu_unused = !between
        .iter()
        .any(|e| is_dispatch(e) || matches!(e.what, RunStarted | RunEnded));
    let stopped = is_exit(next.what) && next.what != Returned;
    match event.what {
        // Killed while parked.
        Woken => stopped,
        // Parked or killed while ready.
        Dispatched { .. } => stopped || next.what == Parked,
        // Parked or killed while running.
        Preempted | Yielded => cpu_unused && (stopped || next.what == Parked),
        // Killed where it was before.
        Parked => {
            let before = trace.events[..index].iter().rfind(same);
            stopped && (cpu_unused || !before.is_some_and(is_dispatch))
        }
        _ => false,
    }
}

/// Whether a thread is ready after the event `index`.
fn is_wanted(trace: &Trace, index: usize) -> bool {
    let mut seen = HashSet::new();
    let latest = trace.events[..=index].iter().rev();
    let mut latest = latest.filter(|e| e.thread.as_u64() != 0 && seen.insert(e.thread));
    latest.any(|e| matches!(e.what, Spawned | Preempted | Yielded | Woken))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn missing_event_is_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let index = index.index(trace.events.len());
        prop_assume!(!valid_without(&trace, index));
        let gone = trace.events.remove(index);
        prop_assert!(!check(&trace).is_ok(), "{gone:?}");
    }

    #[test]
    fn swapped_events_of_a_thread_are_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let first = index.index(trace.events.len());
        let thread = trace.events[first].thread;
        let mut later = trace.events[first + 1..].iter();
        let second = later.position(|e| e.thread == thread);
        prop_assume!(second.is_some());
        let second = first + 1 + second.unwrap();
        let swapped = trace.events[first].what;
        trace.events[first].what = trace.events[second].what;
        trace.events[second].what = swapped;
        prop_assert!(!check(&trace).is_ok(), "{:?} and {:?}", trace.events[first], trace.events[second]);
    }

    #[test]
    fn earlier_time_is_reported(schedule in schedules(), index: Index, by in 1..100_u64) {
        let mut trace = schedule.trace;
        trace.events.iter_mut().for_each(|e| e.at += 100);
        let index = index.index(trace.events.len());
        prop_assume!(index > 0);
        let before = trace.events[index - 1].at;
        trace.events[index].at = before - by;
        let event = trace.events[index];
        reports(&check(&trace), index, event, Wrong::TimeWentBack { before })?;
    }

    #[test]
    fn long_slice_is_reported(schedule in schedules(), index: Index, more in 1..1000_u64) {
        let mut trace = schedule.trace;
        let wanted: Vec<bool> = (0..trace.events.len()).map(|i| is_wanted(&trace, i)).collect();
        // Until the event that takes the thread off the CPU.
        let contended = |start: usize| {
            let thread = trace.events[start].thread;
            let mut all = trace.events.iter().zip(&wanted).skip(start + 1);
            let until = all.position(|(e, _)| e.thread == thread).unwrap();
            wanted[start..=start + until].iter().all(|wanted| *wanted)
        };
        let dispatches = (0..trace.events.len()).filter(|i| is_dispatch(&trace.events[*i]));
        let starts: Vec<usize> = dispatches.filter(|start| contended(*start)).collect();
        prop_assume!(!starts.is_empty());
        let start = *index.get(&starts);
        let begin = trace.events[start];
        let Dispatched { slice } = begin.what else { unreachable!() };
        let mut later = trace.events[start + 1..].iter();
        let end = start + 1 + later.position(|e| e.thread == begin.thread).unwrap();
        let used = trace.events[end].at - begin.at;
        let by = slice - used + more;
        trace.events[end..].iter_mut().for_each(|e| e.at += by);

        let wrong = Wrong::SliceTooLong { used: slice + more, allowed: slice };
        let report = check(&trace);
        prop_assert_eq!(report.violations.len(), 1);
        reports(&report, end, trace.events[end], wrong)?;
        let tolerant = Checker::new().tolerance(more);
        prop_assert!(tolerant.check(&trace).is_ok());
        let strict = Checker::new().tolerance(more - 1);
        prop_assert!(!strict.check(&trace).is_ok());
    }

    #[test]
    fn second_thread_on_the_cpu_is_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let start = find(&trace, &index, is_dispatch);
        prop_assume!(start.is_some());
        let start = start.unwrap();
        let on_cpu = trace.events[start].thread;
        let other = trace.events.iter().find(|e| e.thread.as_u64() != 0 && e.thread != on_cpu);
        prop_assume!(other.is_some());
        let other = event(trace.events[start].at, other.unwrap().thread.as_u64(), slice(9));
        trace.events.insert(start + 1, other);
        reports(&check(&trace), start + 1, other, Wrong::TwoOnCpu { other: on_cpu })?;
    }

    #[test]
    fn finished_thread_that_runs_is_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let end = find(&trace, &index, |e| is_exit(e.what)).unwrap();
        let again = TraceEvent { what: slice(9), ..trace.events[end] };
        trace.events.insert(end + 1, again);
        let wrong = Wrong::NotReady { state: State::Finished };
        reports(&check(&trace), end + 1, again, wrong)?;
    }

    #[test]
    fn dispatched_parked_thread_is_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let parked = find(&trace, &index, |e| e.what == Parked);
        prop_assume!(parked.is_some());
        let parked = parked.unwrap();
        let again = TraceEvent { what: slice(9), ..trace.events[parked] };
        trace.events.insert(parked + 1, again);
        let wrong = Wrong::NotReady { state: State::Parked };
        reports(&check(&trace), parked + 1, again, wrong)?;
    }

    #[test]
    fn lost_thread_is_reported(schedule in schedules(), index: Index) {
        let mut trace = schedule.trace;
        let exit = find(&trace, &index, |e| is_exit(e.what)).unwrap();
        let gone = trace.events.remove(exit);
        let report = check(&trace);
        let about = |v: &Violation| {
            let unfinished = matches!(v.wrong, Wrong::NotFinished { .. });
            unfinished && v.thread == gone.thread && v.index == trace.events.len()
        };
        prop_assert!(report.violations.iter().any(about), "{report}");
    }
}

/// The only violation of a trace of such events.
fn only(events: &[(u64, u64, wasmtime::preempt::Traced)]) -> String {
    let report = Checker::new().check(&trace(events));
    assert_eq!(report.violations.len(), 1, "{report}");
    report.violations[0].to_string()
}

#[test]
fn violations_say_event_time_thread_and_what() {
    assert_eq!(
        only(&[(7, 1, Spawned), (8, 1, slice(5))]),
        "event 1 at 8: thread 1 is dispatched while no run is on"
    );
    assert_eq!(
        only(&[(7, 1, Spawned), (8, 1, Spawned)]),
        "event 1 at 8: thread 1 is spawned a second time"
    );
    assert_eq!(
        only(&[(7, 1, Killed)]),
        "event 0 at 7: thread 1 was never spawned"
    );
    assert_eq!(
        only(&[(7, 1, Spawned), (8, 1, Returned)]),
        "event 1 at 8: thread 1 is ready and cannot be returned"
    );
    assert_eq!(
        only(&[(7, 0, Spawned)]),
        "event 0 at 7: an event of a thread names none"
    );
    assert_eq!(
        only(&[(7, 0, RunStarted), (8, 0, RunStarted)]),
        "event 1 at 8: a run starts within a run"
    );
    assert_eq!(
        only(&[(7, 0, RunEnded)]),
        "event 0 at 7: a run ends and none is on"
    );
    assert_eq!(
        only(&[
            (7, 1, Spawned),
            (8, 0, RunStarted),
            (9, 1, slice(1)),
            (9, 0, RunEnded),
        ]),
        "event 3 at 9: thread 1 is on the CPU where a run starts or ends"
    );
}

#[test]
fn open_slice_at_the_end_counts() {
    assert_eq!(
        only(&[
            (0, 1, Spawned),
            (0, 0, RunStarted),
            (0, 1, slice(5)),
            (2, 2, Spawned),
            (9, 3, Spawned),
        ]),
        "event 5 at 9: thread 1 was on the CPU for 9 ticks, and 5 are allowed"
    );
}

/// A slice of 5 ticks, which takes 20; thread 2 is `what` meanwhile.
fn long_slice(what: &[(u64, u64, wasmtime::preempt::Traced)]) -> Trace {
    let start = [(0, 1, Spawned), (0, 0, RunStarted), (0, 1, slice(5))];
    trace(&[&start, what, &[(20, 1, Preempted)]].concat())
}

#[test]
fn a_slice_has_no_end_while_nobody_waits() {
    for what in [
        &[][..],
        // It waits until the slice is over, and then no more.
        &[(1, 2, Spawned), (5, 2, Killed)],
        // It waits for no time later on.
        &[(9, 2, Spawned), (9, 2, Parked)],
        // It comes at last.
        &[(20, 2, Spawned)],
    ] {
        let report = Checker::new().check(&long_slice(what));
        assert!(report.is_ok(), "{report}");
        assert_eq!(report.longest_slice, 20);
    }
}

#[test]
fn a_slice_ends_when_somebody_waits() {
    for (what, allowed) in [
        (&[(0, 2, Spawned)][..], 5),
        (&[(5, 2, Spawned)], 5),
        // Its slice is over already.
        (&[(6, 2, Spawned)], 6),
        (&[(17, 2, Spawned)], 17),
        // The one that waits now came later.
        (&[(1, 2, Spawned), (5, 2, Parked), (11, 3, Spawned)], 11),
        (&[(1, 2, Spawned), (8, 3, Spawned), (9, 2, Killed)], 5),
    ] {
        let trace = long_slice(what);
        let report = Checker::new().check(&trace);
        assert_eq!(report.violations.len(), 1, "{report}");
        let wrong = Wrong::SliceTooLong { used: 20, allowed };
        assert_eq!(report.violations[0].wrong, wrong);
        let tolerated = |ticks| Checker::new().tolerance(ticks).check(&trace).is_ok();
        assert!(tolerated(20 - allowed) && !tolerated(19 - allowed));
    }
}

#[test]
fn a_slice_that_somebody_waited_for_in_vain_is_too_long() {
    let trace = long_slice(&[(1, 2, Spawned), (8, 2, Killed), (9, 3, Spawned)]);
    let report = Checker::new().check(&trace);
    let [
        Violation {
            at: 8,
            thread,
            wrong,
            ..
        },
    ] = report.violations[..]
    else {
        panic!("{report}");
    };
    assert_eq!(thread, id(1));
    let too_long = Wrong::SliceTooLong {
        used: 8,
        allowed: 5,
    };
    assert_eq!(wrong, too_long);
    assert!(Checker::new().tolerance(11).check(&trace).is_ok());
    assert!(!Checker::new().tolerance(10).check(&trace).is_ok());
}

#[test]
fn one_wrong_time_is_one_violation() {
    assert_eq!(
        only(&[
            (5, 1, Spawned),
            (900, 2, Spawned),
            (6, 3, Spawned),
            (7, 4, Spawned),
        ]),
        "event 2 at 6: thread 3 is earlier than the event before it, at 900"
    );
}
