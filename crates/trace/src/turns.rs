//! Who was on the CPU when, and who spawned whom.

use crate::spans::{Doing, Span, Spans};
use std::ops::Range;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// A period in which a thread was on the CPU. Times are in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// The thread.
    pub thread: ThreadId,
    /// When it was dispatched.
    pub from: u64,
    /// When it left the CPU.
    pub to: u64,
}

/// A thread that was spawned while another one was on the CPU: by a host function that
/// the other one called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spawn {
    /// The new thread.
    pub thread: ThreadId,
    /// The thread on the CPU.
    pub by: ThreadId,
}

/// The turns of all threads, and what else a picture of them needs.
///
/// If a trace lost its beginning, what began before then counts from the first event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turns {
    /// In order. No two overlap.
    pub turns: Vec<Turn>,
    /// In order.
    pub spawns: Vec<Spawn>,
    /// From the beginning of the first run to the end of the last one; `None` if there was
    /// no run.
    pub run: Option<Range<u64>>,
}

impl Turns {
    /// The turns in `trace`.
    pub fn of(trace: &Trace) -> Self {
        let mut found = Turns::default();
        let mut spans = Spans::of(trace);
        for event in &trace.events {
            if let (Traced::Spawned, Some(by)) = (event.what, spans.running()) {
                let thread = event.thread;
                found.spawns.push(Spawn { thread, by });
            }
            spans.step(event).for_each(|span| found.add(&span));
        }
        spans.finish().iter().for_each(|span| found.add(span));
        found
    }

    fn add(&mut self, span: &Span) {
        let Span {
            thread, from, to, ..
        } = *span;
        match span.doing {
            Doing::Running { .. } => self.turns.push(Turn { thread, from, to }),
            Doing::Run => {
                let run = self.run.get_or_insert(from..to);
                run.end = to;
            }
            Doing::Ready | Doing::Parked => {}
        }
    }
}
