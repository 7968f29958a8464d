//! What each thread did between two of its events.
//!
//! 1. Time never goes back: an event counts as no earlier than the one before it.
//! 2. At most one thread runs. When another one is dispatched, or the run ends, the
//!    running thread's span ends too.
//! 3. So a thread's spans follow each other and never overlap.
//! 4. If the beginning is lost, a thread's first event tells what it did until then,
//!    if possible.
//!
//! Rejected: refusing traces that break the rules. A picture of a broken schedule
//! shows how it broke. `check.rs` does not use spans.

use crate::names::finishes;
use std::collections::HashMap;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, TraceEvent, Traced};

/// What happens during a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Ready,
    /// On the CPU. No slice if the dispatch is lost.
    Running {
        slice: Option<u64>,
    },
    Parked,
    /// Not of a thread: a run is in progress.
    Run,
}

/// A period in which a thread did one thing.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub thread: ThreadId,
    pub doing: Doing,
    pub from: u64,
    pub to: u64,
    /// How much of it fell within a run.
    pub in_run: u64,
    /// The event that ended it; `None` at the end of the trace.
    pub end: Option<Traced>,
}

impl Span {
    pub fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

#[derive(Clone, Copy)]
struct Open {
    doing: Doing,
    from: u64,
    /// The run clock at that time.
    run_clock: u64,
}

/// Reads a trace from its start.
pub struct Spans {
    threads: HashMap<ThreadId, Option<Open>>,
    running: Option<ThreadId>,
    /// How many threads are ready.
    ready: usize,
    /// When the current run started.
    run: Option<u64>,
    /// Total time in runs so far: waiting between runs is nobody's fault.
    run_clock: u64,
    start: u64,
    now: u64,
    lost: bool,
    /// Whether a thread may have been running since before the start.
    run_unseen: bool,
}

impl Spans {
    pub fn of(trace: &Trace) -> Self {
        let start = trace.events.first().map_or(0, |event| event.at);
        let lost = trace.lost > 0;
        let first_run = trace.events.iter().find(|event| {
            use Traced::*;
            matches!(
                event.what,
                RunStarted | RunEnded | Dispatched { .. } | Preempted | Yielded | Paused | Returned
            )
        });
        let in_run = lost && first_run.is_some_and(|event| event.what != Traced::RunStarted);
        Spans {
            threads: HashMap::new(),
            running: None,
            ready: 0,
            run: in_run.then_some(start),
            run_clock: 0,
            start,
            now: start,
            lost,
            run_unseen: lost,
        }
    }

    /// The time of the last event.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The thread on the CPU now.
    pub fn running(&self) -> Option<ThreadId> {
        self.running
    }

    /// How many threads are ready now.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Processes the next event and returns the spans that it ends.
    pub fn step(&mut self, event: &TraceEvent) -> impl Iterator<Item = Span> + use<> {
        let now = self.now.max(event.at);
        if self.run.is_some() {
            self.run_clock = self.run_clock.saturating_add(now - self.now);
        }
        self.now = now;

        let what = event.what;
        let ended = match what {
            Traced::RunStarted => [self.end_run(what), self.begin_run()],
            Traced::RunEnded => [self.stop_running(what), self.end_run(what)],
            Traced::Dispatched { slice } => {
                let other = self.running.filter(|running| *running != event.thread);
                let other = other.and_then(|_| self.stop_running(what));
                let doing = Doing::Running { slice: Some(slice) };
                let own = self.turn(event.thread, Some(doing), what);
                self.running = Some(event.thread);
                self.run_unseen = false;
                [other, own]
            }
            Traced::Spawned
            | Traced::Preempted
            | Traced::Yielded
            | Traced::Paused
            | Traced::Woken => [self.turn(event.thread, Some(Doing::Ready), what), None],
            Traced::Parked => [self.turn(event.thread, Some(Doing::Parked), what), None],
            what if finishes(what) => [self.turn(event.thread, None, what), None],
            _ => [None, None],
        };
        ended.into_iter().flatten()
    }

    /// The spans that no event ended, ordered by thread.
    pub fn finish(self) -> Vec<Span> {
        let mut spans: Vec<Span> = self
            .threads
            .iter()
            .filter_map(|(thread, open)| Some(self.close(*thread, (*open)?, None)))
            .collect();
        spans.sort_unstable_by_key(|span| span.thread);
        spans.extend(self.run.map(|from| self.run_span(from, None)));
        spans
    }

    /// Ends what `thread` is doing, and begins `next`.
    fn turn(&mut self, thread: ThreadId, next: Option<Doing>, what: Traced) -> Option<Span> {
        let before = match self.threads.get(&thread) {
            Some(open) => *open,
            None if self.lost => self.before_first(what),
            None => None,
        };
        if self.running == Some(thread) {
            self.running = None;
        }
        let known = self.threads.contains_key(&thread);
        if known && before.is_some_and(|open| open.doing == Doing::Ready) {
            self.ready -= 1;
        }
        if next == Some(Doing::Ready) {
            self.ready += 1;
        }
        let next = next.map(|doing| Open {
            doing,
            from: self.now,
            run_clock: self.run_clock,
        });
        self.threads.insert(thread, next);
        before.map(|open| self.close(thread, open, Some(what)))
    }

    /// What a thread was doing before `what`, its first event.
    fn before_first(&mut self, what: Traced) -> Option<Open> {
        let doing = match what {
            Traced::Dispatched { .. } => Doing::Ready,
            Traced::Woken => Doing::Parked,
            Traced::Preempted | Traced::Yielded | Traced::Paused | Traced::Returned
                if self.run_unseen =>
            {
                self.run_unseen = false;
                Doing::Running { slice: None }
            }
            _ => return None,
        };
        Some(Open {
            doing,
            from: self.start,
            run_clock: 0,
        })
    }

    /// Makes the running thread, if any, ready.
    fn stop_running(&mut self, what: Traced) -> Option<Span> {
        self.turn(self.running?, Some(Doing::Ready), what)
    }

    fn begin_run(&mut self) -> Option<Span> {
        self.run = Some(self.now);
        None
    }

    fn end_run(&mut self, what: Traced) -> Option<Span> {
        let from = self.run.take()?;
        Some(self.run_span(from, Some(what)))
    }

    fn run_span(&self, from: u64, end: Option<Traced>) -> Span {
        Span {
            thread: ThreadId::from_u64(0),
            doing: Doing::Run,
            from,
            to: self.now,
            in_run: self.now.saturating_sub(from),
            end,
        }
    }

    fn close(&self, thread: ThreadId, open: Open, end: Option<Traced>) -> Span {
        Span {
            thread,
            doing: open.doing,
            from: open.from,
            to: self.now,
            in_run: self.run_clock.saturating_sub(open.run_clock),
            end,
        }
    }
}
