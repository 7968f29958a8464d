//! Traces as JSON, for the [Perfetto UI](https://ui.perfetto.dev) and
//! `chrome://tracing`.
//!
//! The format is Chrome's [Trace Event Format], an object with `traceEvents`:
//!
//! | process | track | what is on it |
//! |---|---|---|
//! | 1 `guest threads` | each thread, by its id | a complete event (`X`) for each time on the CPU, and instants (`i`) |
//! | 2 `store` | 2 `runs` | a complete event for each run |
//! | 2 `store` | `ready threads` | a counter (`C`) |
//!
//! The arguments of a time on the CPU are the `slice` it was dispatched for, how much
//! of that it `used`, both in ticks, and what `ended` it.
//!
//! The format's times are microseconds, written with three decimals. They count from
//! the first event, because readers store them as floating-point numbers; `otherData`
//! holds that event's time. A unit of fuel is shown as a nanosecond.
//!
//! Perfetto accepts 32-bit track numbers. A thread whose id has more than 31 bits, or
//! is 0, gets a number from 2^31 on.
//!
//! [Trace Event Format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU/preview

use crate::names::{Names, finishes, shown};
use crate::spans::{Doing, Span, Spans};
use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap};
use std::io;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, TraceEvent, Traced};

/// The process that holds the threads.
const THREADS: u32 = 1;
/// The process for everything that belongs to no thread, and its track.
const STORE: u32 = 2;
/// The first track number for threads whose id cannot serve as one.
const OTHER_TRACKS: u32 = 1 << 31;

/// Writes `trace` to `out`.
///
/// Events are written as they come; only the threads take memory. `out` gets many
/// small writes, so use a buffer.
///
/// # Errors
///
/// If writing fails.
pub fn write(trace: &Trace, out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(out, &File(trace)).map_err(io::Error::from)
}

struct File<'a>(&'a Trace);

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OtherData {
            clock: &'static str,
            start: u64,
            lost: u64,
        }

        let start = self.0.events.first().map_or(0, |event| event.at);
        let clock = match self.0.fuel {
            true => "fuel, a unit shown as 1 ns",
            false => "ns",
        };
        let mut file = to.serialize_map(Some(3))?;
        file.serialize_entry("traceEvents", &Events(self.0))?;
        file.serialize_entry("displayTimeUnit", "ns")?;
        file.serialize_entry(
            "otherData",
            &OtherData {
                clock,
                start,
                lost: self.0.lost,
            },
        )?;
        file.end()
    }
}

/// One event in the format.
#[derive(Serialize)]
struct Entry<'a, A> {
    name: &'a str,
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<Box<RawValue>>,
    /// For an instant: how far its mark reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<A>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct SortIndex {
    sort_index: usize,
}

#[derive(Serialize)]
struct Ready {
    ready: usize,
}

#[derive(Serialize)]
struct Slice {
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<u64>,
    used: u64,
    ended: &'static str,
}

struct Events<'a>(&'a Trace);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let trace = self.0;
        let mut writer = Writer {
            seq: to.serialize_seq(None)?,
            start: trace.events.first().map_or(0, |event| event.at),
            tracks: HashMap::new(),
        };
        writer.tracks(trace)?;

        let mut spans = Spans::of(trace);
        let (mut shown_ready, mut now) = (None, spans.now());
        for event in &trace.events {
            let ready = spans.ready();
            let ended = spans.step(event);
            // One count per time: the last one.
            if spans.now() != now {
                if shown_ready != Some(ready) {
                    writer.ready(now, ready)?;
                    shown_ready = Some(ready);
                }
                now = spans.now();
            }
            for span in ended {
                writer.span(&span)?;
            }
            writer.instant(event, now)?;
        }
        if !trace.events.is_empty() && shown_ready != Some(spans.ready()) {
            writer.ready(now, spans.ready())?;
        }
        for span in spans.finish() {
            writer.span(&span)?;
        }
        writer.seq.end()
    }
}

struct Writer<S> {
    seq: S,
    start: u64,
    tracks: HashMap<ThreadId, u32>,
}

impl<S: SerializeSeq> Writer<S> {
    /// Names the processes and tracks.
    fn tracks(&mut self, trace: &Trace) -> Result<(), S::Error> {
        let threads = match trace.fuel {
            true => "guest threads (a unit of fuel is shown as 1 ns)",
            false => "guest threads",
        };
        self.metadata("process_name", THREADS, None, Name { name: threads })?;
        self.metadata("process_name", STORE, None, Name { name: "store" })?;
        self.metadata("thread_name", STORE, Some(STORE), Name { name: "runs" })?;

        let names = Names::of(trace);
        let of_threads = trace.events.iter().filter(|event| about_thread(event));
        let ids: BTreeSet<ThreadId> = of_threads.map(|event| event.thread).collect();
        let mut other = OTHER_TRACKS;
        for (sort_index, id) in ids.into_iter().enumerate() {
            let track = match u32::try_from(id.as_u64()) {
                Ok(track @ 1..OTHER_TRACKS) => track,
                _ => {
                    other = other.saturating_add(1);
                    other - 1
                }
            };
            self.tracks.insert(id, track);
            let name = match names.given(id) {
                Some(name) => name,
                None => &names.label(id),
            };
            self.metadata("thread_name", THREADS, Some(track), Name { name })?;
            let index = SortIndex { sort_index };
            self.metadata("thread_sort_index", THREADS, Some(track), index)?;
        }
        Ok(())
    }

    fn metadata(
        &mut self,
        name: &'static str,
        pid: u32,
        tid: Option<u32>,
        args: impl Serialize,
    ) -> Result<(), S::Error> {
        self.seq.serialize_element(&Entry {
            name,
            ph: "M",
            cat: None,
            pid,
            tid,
            ts: None,
            dur: None,
            s: None,
            args: Some(args),
        })
    }

    /// A time on the CPU, or a run. Waiting threads show as gaps in their tracks.
    fn span(&mut self, span: &Span) -> Result<(), S::Error> {
        let (name, pid, tid, slice) = match span.doing {
            Doing::Run => ("run", STORE, STORE, None),
            Doing::Running { slice } => ("running", THREADS, self.track(span.thread), slice),
            Doing::Ready | Doing::Parked => return Ok(()),
        };
        let args = (span.doing != Doing::Run).then(|| Slice {
            slice,
            used: span.len(),
            ended: match span.end {
                Some(Traced::Dispatched { .. }) => "dispatch of another",
                Some(end) => shown(end),
                None => "end of the trace",
            },
        });
        self.seq.serialize_element(&Entry {
            name,
            ph: "X",
            cat: Some("sched"),
            pid,
            tid: Some(tid),
            ts: Some(self.ts(span.from)?),
            dur: Some(microseconds(span.len())?),
            s: None,
            args,
        })
    }

    /// Marks what happened, unless a slice or a run already shows it.
    fn instant(&mut self, event: &TraceEvent, now: u64) -> Result<(), S::Error> {
        let marked = matches!(
            event.what,
            Traced::Spawned
                | Traced::Preempted
                | Traced::Yielded
                | Traced::Paused
                | Traced::Parked
                | Traced::Woken
        );
        if !marked && !finishes(event.what) {
            return Ok(());
        }
        self.seq.serialize_element(&Entry {
            name: shown(event.what),
            ph: "i",
            cat: Some("sched"),
            pid: THREADS,
            tid: Some(self.track(event.thread)),
            ts: Some(self.ts(now)?),
            dur: None,
            s: Some("t"),
            args: None::<()>,
        })
    }

    fn ready(&mut self, at: u64, ready: usize) -> Result<(), S::Error> {
        self.seq.serialize_element(&Entry {
            name: "ready threads",
            ph: "C",
            cat: Some("sched"),
            pid: STORE,
            tid: Some(STORE),
            ts: Some(self.ts(at)?),
            dur: None,
            s: None,
            args: Some(Ready { ready }),
        })
    }

    fn track(&self, thread: ThreadId) -> u32 {
        self.tracks.get(&thread).copied().unwrap_or(OTHER_TRACKS)
    }

    fn ts(&self, at: u64) -> Result<Box<RawValue>, S::Error> {
        microseconds(at.saturating_sub(self.start))
    }
}

fn about_thread(event: &TraceEvent) -> bool {
    !matches!(event.what, Traced::RunStarted | Traced::RunEnded)
}

/// This many nanoseconds, exactly: a floating-point number would round.
fn microseconds<E: Error>(ns: u64) -> Result<Box<RawValue>, E> {
    let number = format!("{}.{:03}", ns / 1000, ns % 1000);
    RawValue::from_string(number).map_err(E::custom)
}
