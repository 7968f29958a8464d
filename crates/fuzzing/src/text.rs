//! The text forms of schedules and traces: reading any text is free of panics, and what is written
//! is read back as it was. A trace that can be read can be checked, measured and drawn.

use arbitrary::{Arbitrary, Result, Unstructured};
use preempt_policies::Schedule;
use preempt_trace::check::{Checker, Order};
use preempt_trace::perfetto;
use preempt_trace::stats::Stats;
use preempt_trace::text::{self, Text};
use preempt_trace::timeline::Timeline;
use preempt_trace::turns::Turns;
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, Trace, TraceEvent, Traced};

/// How many lanes and events are drawn. Pictures of more take time, and show nothing new.
const DRAWN: usize = 300;

/// A text after a first byte that is a letter, else choices for a schedule or a trace.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((b's', text)) => read_schedule(&String::from_utf8_lossy(text)),
        Some((b't', text)) => read_trace(&String::from_utf8_lossy(text)),
        Some((kind, choices)) => {
            let mut u = Unstructured::new(choices);
            // An error means that there are no more choices.
            match kind % 2 {
                0 => drop(schedule(&mut u).map(|schedule| write_schedule(&schedule))),
                _ => drop(trace(&mut u).map(|trace| write_trace(&trace))),
            }
        }
        None => {}
    }
}

fn read_schedule(text: &str) {
    match text.parse::<Schedule>() {
        Ok(schedule) => write_schedule(&schedule),
        Err(error) => {
            assert!(error.line() <= 2.max(text.lines().count()), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

fn write_schedule(schedule: &Schedule) {
    let written = schedule.to_string();
    let read: Schedule = written.parse().expect("what was written can be read");
    assert_eq!(&read, schedule);
    assert_eq!(read.to_string(), written);
    // One run of picks may stand for 2^64 of them.
    let first: Vec<Pick> = schedule.iter().take(DRAWN).collect();
    assert_eq!(first.len() as u64, schedule.len().min(DRAWN as u64));
}

fn read_trace(text: &str) {
    match text::parse(text) {
        Ok(trace) => {
            // Each trace has one text form, but for the ends of lines and the escapes in names.
            let written = write_trace(&trace);
            if trace.names.is_empty() && text.ends_with('\n') {
                assert_eq!(written, text.replace("\r\n", "\n"));
            }
        }
        Err(error) => {
            assert!(error.line() <= text.lines().count() + 1, "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

fn write_trace(trace: &Trace) -> String {
    let written = Text(trace).to_string();
    let read = text::parse(&written).expect("what was written can be read");
    assert_eq!(read.events, trace.events);
    assert_eq!(read.names, trace.names);
    assert_eq!((read.lost, read.fuel), (trace.lost, trace.fuel));
    analyze(trace);
    written
}

fn analyze(trace: &Trace) {
    let finished = trace.events.len().is_multiple_of(2);
    let report = Checker::new()
        .order(Order::RoundRobin)
        .all_finished(finished)
        .check(trace);
    assert_eq!(report.events, trace.events.len());
    let _ = report.to_string();
    let _ = Stats::of(trace);
    let _ = Turns::of(trace);
    if trace.events.len() <= DRAWN {
        let drawn = Timeline::new().svg(trace);
        assert!(drawn.starts_with("<svg"), "{drawn:.100}");
        let mut json = Vec::new();
        perfetto::write(trace, &mut json).expect("there is room");
        serde_json::from_slice::<serde_json::Value>(&json).expect("it is JSON");
    }
}

fn schedule(u: &mut Unstructured<'_>) -> Result<Schedule> {
    let mut schedule = Schedule::new();
    schedule.set_seed(u.arbitrary()?);
    while !u.is_empty() {
        let pick = Pick {
            thread: ThreadId::from_u64(u.arbitrary()?),
            slice: u.arbitrary()?,
        };
        for _ in 0..u.int_in_range(1..=3)? {
            schedule.push(pick);
        }
    }
    Ok(schedule)
}

fn trace(u: &mut Unstructured<'_>) -> Result<Trace> {
    let mut names = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        names.push((ThreadId::from_u64(u.arbitrary()?), u.arbitrary()?));
    }
    let (fuel, lost) = (u.arbitrary()?, u.int_in_range(0..=2)?);
    // Most often few threads, and time that passes.
    let strange = u.ratio(1, 4)?;
    let mut events = Vec::new();
    let mut now = 0_u64;
    while !u.is_empty() {
        let (at, thread) = match strange {
            true => (u.arbitrary()?, u.arbitrary()?),
            false => {
                now += u64::from(u8::arbitrary(u)?);
                (now, u.int_in_range(0..=4)?)
            }
        };
        events.push(TraceEvent {
            at,
            thread: ThreadId::from_u64(thread),
            what: event(u)?,
        });
    }
    Ok(Trace {
        events,
        lost,
        fuel,
        names,
    })
}

fn event(u: &mut Unstructured<'_>) -> Result<Traced> {
    Ok(match u.int_in_range(0..=12)? {
        0 => Traced::RunStarted,
        1 => Traced::RunEnded,
        2 => Traced::Spawned,
        3 => Traced::Preempted,
        4 => Traced::Yielded,
        5 => Traced::Paused,
        6 => Traced::Parked,
        7 => Traced::Woken,
        8 => Traced::Returned,
        9 => Traced::Trapped,
        10 => Traced::Killed,
        11 => Traced::OverLimit,
        _ => Traced::Dispatched {
            slice: match u.ratio(7, 8)? {
                true => u.int_in_range(0..=200)?,
                false => u.arbitrary()?,
            },
        },
    })
}
