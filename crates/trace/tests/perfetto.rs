//! The JSON is what the Trace Event Format says, and adds up.

use crate::support::*;
use preempt_trace::perfetto;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use wasmtime::ThreadId;
use wasmtime::preempt::Trace;
use wasmtime::preempt::Traced::*;

/// An event of the format, its times in nanoseconds.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub ph: String,
    pub pid: u32,
    pub tid: Option<u32>,
    pub ts: u64,
    pub dur: u64,
    pub args: Value,
}

#[derive(Deserialize)]
struct Raw<'a> {
    name: String,
    ph: String,
    pid: u32,
    tid: Option<u32>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    dur: Option<&'a RawValue>,
    s: Option<String>,
    #[serde(default)]
    args: Value,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, rename = "traceEvents")]
    events: Vec<Raw<'a>>,
}

/// Exactly, as floating-point numbers are not.
fn nanoseconds(number: &RawValue) -> u64 {
    let (whole, part) = number.get().split_once('.').unwrap();
    assert_eq!(part.len(), 3);
    format!("{whole}{part}").parse().unwrap()
}

/// Writes and reads `trace`, and checks what the format asks of each event.
pub fn read(trace: &Trace) -> Vec<Entry> {
    let mut json = Vec::new();
    perfetto::write(trace, &mut json).unwrap();
    let file: File = serde_json::from_slice(&json).unwrap();
    let entry = |raw: Raw| {
        let has = |times, scope| {
            assert_eq!((raw.ts.is_some(), raw.dur.is_some()), times);
            assert_eq!(raw.s.is_some(), scope);
        };
        match raw.ph.as_str() {
            "M" => has((false, false), false),
            "X" => has((true, true), false),
            "i" => has((true, false), true),
            "C" => has((true, false), false),
            other => panic!("{other}"),
        }
        Entry {
            name: raw.name,
            ph: raw.ph,
            pid: raw.pid,
            tid: raw.tid,
            ts: raw.ts.map_or(0, nanoseconds),
            dur: raw.dur.map_or(0, nanoseconds),
            args: raw.args,
        }
    };
    file.events.into_iter().map(entry).collect()
}

/// The slices of each track, which must not overlap.
pub fn tracks(entries: &[Entry]) -> BTreeMap<(u32, u32), Vec<&Entry>> {
    let mut tracks = BTreeMap::<_, Vec<&Entry>>::new();
    for entry in entries.iter().filter(|entry| entry.ph == "X") {
        let track = (entry.pid, entry.tid.unwrap());
        tracks.entry(track).or_default().push(entry);
    }
    for slices in tracks.values_mut() {
        slices.sort_by_key(|slice| (slice.ts, slice.dur));
        for pair in slices.windows(2) {
            assert!(pair[0].ts + pair[0].dur <= pair[1].ts, "{pair:?}");
        }
    }
    tracks
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn slices_do_not_overlap_and_add_up(schedule in schedules()) {
        let trace = &schedule.trace;
        let entries = read(trace);
        let tracks = tracks(&entries);
        for (thread, cpu) in cpu_times(trace) {
            let track = tracks.get(&(1, thread.as_u64() as u32));
            let total: u64 = track.iter().flat_map(|t| t.iter()).map(|slice| slice.dur).sum();
            prop_assert_eq!(total, cpu);
        }
        let count = |ph: &str| entries.iter().filter(|entry| entry.ph == ph).count();
        let runs = trace.events.iter().filter(|e| e.what == RunStarted).count();
        let dispatches = trace.events.iter().filter(|e| is_dispatch(e)).count();
        prop_assert_eq!(count("X"), runs + dispatches);
        prop_assert_eq!(count("i"), trace.events.len() - 2 * runs - dispatches);
    }

    #[test]
    fn counter_ends_with_no_thread_ready(schedule in schedules()) {
        let entries = read(&schedule.trace);
        let counts: Vec<&Entry> = entries.iter().filter(|entry| entry.ph == "C").collect();
        prop_assert!(counts.windows(2).all(|pair| pair[0].ts < pair[1].ts));
        prop_assert_eq!(&counts.last().unwrap().args, &json!({ "ready": 0 }));
    }
}

#[test]
fn one_slice_is_written_as_documented() {
    let mut trace = trace(&[
        (1_000_000, 1, Spawned),
        (1_000_000, 0, RunStarted),
        (1_000_500, 1, slice(2000)),
        (1_001_501, 1, Yielded),
        (1_001_501, 0, RunEnded),
    ]);
    trace.names.push((id(1), "<&\"\u{1}".to_string()));
    let mut json = Vec::new();
    perfetto::write(&trace, &mut json).unwrap();
    let file: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        file,
        json!({
            "traceEvents": [
                { "name": "process_name", "ph": "M", "pid": 1, "args": { "name": "guest threads" } },
                { "name": "process_name", "ph": "M", "pid": 2, "args": { "name": "store" } },
                { "name": "thread_name", "ph": "M", "pid": 2, "tid": 2, "args": { "name": "runs" } },
                { "name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": { "name": "<&\"\u{1}" } },
                { "name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 1, "args": { "sort_index": 0 } },
                { "name": "spawned", "ph": "i", "cat": "sched", "pid": 1, "tid": 1, "ts": 0.0, "s": "t" },
                { "name": "ready threads", "ph": "C", "cat": "sched", "pid": 2, "tid": 2, "ts": 0.0,
                  "args": { "ready": 1 } },
                { "name": "ready threads", "ph": "C", "cat": "sched", "pid": 2, "tid": 2, "ts": 0.5,
                  "args": { "ready": 0 } },
                { "name": "running", "ph": "X", "cat": "sched", "pid": 1, "tid": 1, "ts": 0.5, "dur": 1.001,
                  "args": { "slice": 2000, "used": 1001, "ended": "yielded" } },
                { "name": "yielded", "ph": "i", "cat": "sched", "pid": 1, "tid": 1, "ts": 1.501, "s": "t" },
                { "name": "run", "ph": "X", "cat": "sched", "pid": 2, "tid": 2, "ts": 0.0, "dur": 1.501 },
                { "name": "ready threads", "ph": "C", "cat": "sched", "pid": 2, "tid": 2, "ts": 1.501,
                  "args": { "ready": 1 } },
            ],
            "displayTimeUnit": "ns",
            "otherData": { "clock": "ns", "start": 1_000_000, "lost": 0 },
        })
    );
}

#[test]
fn threads_have_tracks_of_their_own_whatever_their_ids() {
    let ids = [0, 1, 2, 1 << 31, (1 << 32) + 1, u64::MAX];
    let events: Vec<_> = ids.iter().map(|id| (0, *id, Spawned)).collect();
    let entries = read(&trace(&events));
    let instants = entries.iter().filter(|entry| entry.ph == "i");
    let mut tracks: Vec<u32> = instants.map(|entry| entry.tid.unwrap()).collect();
    assert_eq!(tracks[1..3], [1, 2]);
    tracks.sort();
    tracks.dedup();
    assert_eq!(tracks.len(), ids.len());
    assert!(!tracks.contains(&0));
}

#[test]
fn nothing_is_a_file_without_events() {
    let entries = read(&Trace::default());
    assert!(entries.iter().all(|entry| entry.ph == "M"));
}

#[test]
fn open_slices_end_with_the_trace() {
    let entries = read(&trace(&[
        (0, 1, Spawned),
        (0, 0, RunStarted),
        (4, 1, slice(9)),
        (9, 2, Spawned),
    ]));
    let slices: Vec<_> = entries.iter().filter(|entry| entry.ph == "X").collect();
    assert_eq!((slices[0].ts, slices[0].dur), (4, 5));
    assert_eq!(slices[0].args["ended"], "end of the trace");
    assert_eq!((slices[1].ts, slices[1].dur), (0, 9));
}

#[test]
fn failed_write_is_an_error() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = perfetto::write(&Trace::default(), Full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

/// How many tracks threads have.
pub fn threads(entries: &[Entry]) -> usize {
    let named = |entry: &&Entry| entry.name == "thread_name" && entry.pid == 1;
    entries.iter().filter(named).count()
}

/// The ids that events of threads name.
pub fn ids(trace: &Trace) -> std::collections::BTreeSet<ThreadId> {
    let events = trace.events.iter();
    let of_threads = events.filter(|e| !matches!(e.what, RunStarted | RunEnded));
    of_threads.map(|e| e.thread).collect()
}
