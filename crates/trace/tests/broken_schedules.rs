//! The checker reports each way in which a schedule can be wrong.

use crate::support::*;
use preempt_trace::check::{Checker, Report, State, Violation, Wrong};
use proptest::prelude::*;
use proptest::sample::Index;
use wasmtime::Traced::*;
use wasmtime::{Trace, TraceEvent};

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
        let start = find(&trace, &index, is_dispatch);
        prop_assume!(start.is_some());
        let start = start.unwrap();
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
fn only(events: &[(u64, u64, wasmtime::Traced)]) -> String {
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
            (9, 2, Spawned),
        ]),
        "event 4 at 9: thread 1 was on the CPU for 9 ticks, and 5 are allowed"
    );
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
