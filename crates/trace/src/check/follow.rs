//! Follows the threads of a trace through their states.
//!
//! After a violation, the checker believes the event, so that one mistake is not
//! reported again with every later event. A thread that should not have been
//! dispatched counts as running, and one that was on the CPU meanwhile as in an
//! unknown state.

use super::Checker;
use super::order::OrderRule;
use super::report::{Report, State, Violation, Wrong};
use crate::names::finishes;
use std::collections::HashMap;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, TraceEvent, Traced};

pub fn follow<'a>(
    checker: &'a Checker,
    trace: &Trace,
    rule: Option<&'a mut (dyn OrderRule + 'a)>,
) -> Report {
    let lost = trace.lost > 0;
    let mut check = Check {
        checker,
        rule,
        lost,
        threads: HashMap::new(),
        ready: 0,
        wanted_since: None,
        cpu: if lost { Cpu::Unknown } else { Cpu::Idle },
        run: lost && starts_within_run(trace),
        run_clock: 0,
        now: trace.events.first().map_or(0, |event| event.at),
        report: Report::new(trace),
    };
    for (index, event) in trace.events.iter().enumerate() {
        check.event(index, event);
    }
    check.finish(trace)
}

/// What is on the CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cpu {
    /// Nothing, or a thread whose dispatch is lost.
    Unknown,
    Idle,
    Thread(ThreadId),
}

/// What is known about a thread.
struct Thread {
    state: State,
    /// When it entered this state, by the trace's clock and by the run clock.
    since: u64,
    since_run: u64,
    /// Its slice, if it is running and its dispatch is not lost.
    slice: Option<u64>,
}

struct Check<'a> {
    checker: &'a Checker,
    rule: Option<&'a mut (dyn OrderRule + 'a)>,
    lost: bool,
    threads: HashMap<ThreadId, Thread>,
    /// How many of them are known to be ready.
    ready: usize,
    /// Since when one of them has been.
    wanted_since: Option<u64>,
    cpu: Cpu,
    run: bool,
    /// Total time in runs so far: waiting between runs is nobody's fault.
    run_clock: u64,
    now: u64,
    report: Report,
}

impl Check<'_> {
    fn event(&mut self, index: usize, event: &TraceEvent) {
        let wrong = |wrong| Violation {
            index,
            at: event.at,
            thread: event.thread,
            wrong,
        };
        if event.at < self.now {
            let before = self.now;
            self.report.add(wrong(Wrong::TimeWentBack { before }));
        }
        if self.run {
            let passed = event.at.saturating_sub(self.now);
            self.run_clock = self.run_clock.saturating_add(passed);
        }
        // Not the later of the two: one wrong time is one violation.
        self.now = event.at;

        match event.what {
            Traced::RunStarted => {
                if self.run {
                    self.report.add(wrong(Wrong::RunWithinRun));
                }
                self.run = true;
                self.no_thread_on_cpu(&wrong);
            }
            Traced::RunEnded => {
                if !self.run {
                    self.report.add(wrong(Wrong::NoRunToEnd));
                }
                self.run = false;
                self.no_thread_on_cpu(&wrong);
            }
            _ if event.thread.as_u64() == 0 => self.report.add(wrong(Wrong::NoThread)),
            Traced::Dispatched { slice } => self.dispatched(event.thread, slice, &wrong),
            what => self.other(event.thread, what, &wrong),
        }
    }

    /// Checks that no thread is on the CPU when a run starts or ends.
    fn no_thread_on_cpu(&mut self, wrong: &impl Fn(Wrong) -> Violation) {
        if let Cpu::Thread(thread) = self.cpu {
            self.report.add(Violation {
                thread,
                ..wrong(Wrong::OnCpuBetweenRuns)
            });
            self.enter(thread, State::Unknown);
        }
        self.cpu = Cpu::Idle;
    }

    fn dispatched(&mut self, id: ThreadId, slice: u64, wrong: &impl Fn(Wrong) -> Violation) {
        self.report.dispatches += 1;
        if !self.run {
            self.report.add(wrong(Wrong::OutsideRun));
        }
        if let Cpu::Thread(other) = self.cpu
            && other != id
        {
            self.report.add(wrong(Wrong::TwoOnCpu { other }));
            self.enter(other, State::Unknown);
        }
        let state = self.state(id);
        match state {
            None => self.report.add(wrong(Wrong::NeverSpawned)),
            Some(State::Ready) => {
                let since = self.threads[&id].since_run;
                let waited = self.run_clock.saturating_sub(since);
                self.report.longest_wait = self.report.longest_wait.max(waited);
            }
            Some(State::Unknown) => {}
            Some(state) => self.report.add(wrong(Wrong::NotReady { state })),
        }
        if let Some(rule) = &mut self.rule
            && let Some(due) = rule.dispatched(id)
        {
            self.report.add(wrong(Wrong::OutOfOrder { due }));
        }
        self.enter(id, State::Running);
        if let Some(thread) = self.threads.get_mut(&id) {
            thread.slice = Some(slice);
        }
        self.cpu = Cpu::Thread(id);
    }

    /// Handles any event of a thread except a dispatch.
    fn other(&mut self, id: ThreadId, what: Traced, wrong: &impl Fn(Wrong) -> Violation) {
        let next = match what {
            Traced::Spawned
            | Traced::Preempted
            | Traced::Yielded
            | Traced::Paused
            | Traced::Woken => State::Ready,
            Traced::Parked => State::Parked,
            what if finishes(what) => State::Finished,
            // From a later Wasmtime: its meaning is unknown.
            _ => return,
        };
        let state = self.state(id);
        match state {
            _ if what == Traced::Spawned => {
                // Must be a thread's first event, whether events are lost or not.
                if self.threads.contains_key(&id) {
                    self.report.add(wrong(Wrong::SpawnedTwice));
                }
            }
            None => self.report.add(wrong(Wrong::NeverSpawned)),
            Some(State::Unknown) if self.never_ran(id, what) => {
                let state = State::Unknown;
                self.report.add(wrong(Wrong::Impossible { state, what }));
            }
            Some(state) if !possible(state, what) => {
                self.report.add(wrong(Wrong::Impossible { state, what }));
            }
            Some(_) => {}
        }
        match (state, self.cpu) {
            (Some(State::Running), _) => self.check_slice(id, wrong),
            // The last waiting thread leaves: was the running one due before now?
            (Some(State::Ready), Cpu::Thread(thread))
                if next != State::Ready && self.ready == 1 =>
            {
                self.check_slice(thread, &|what| Violation {
                    thread,
                    ..wrong(what)
                });
            }
            _ => {}
        }
        if self.cpu == Cpu::Thread(id) || (self.cpu == Cpu::Unknown && only_running(what)) {
            self.cpu = Cpu::Idle;
        }
        if let Some(rule) = &mut self.rule {
            match next {
                State::Ready => rule.ready(id, what),
                _ => rule.gone(id),
            }
        }
        self.enter(id, next);
    }

    /// Whether a thread in an unknown state would have to be running for this event
    /// but cannot be, because the CPU is known not to hold it.
    fn never_ran(&self, id: ThreadId, what: Traced) -> bool {
        let seen = self.threads.contains_key(&id);
        !seen && only_running(what) && self.cpu != Cpu::Unknown
    }

    /// Checks whether `id`, which is on the CPU, has been there too long by now.
    fn check_slice(&mut self, id: ThreadId, wrong: &impl Fn(Wrong) -> Violation) {
        let thread = &self.threads[&id];
        let used = self.now.saturating_sub(thread.since);
        let Some(slice) = thread.slice else { return };
        self.report.longest_slice = self.report.longest_slice.max(used);
        // A thread that is alone keeps nobody from the CPU.
        let Some(wanted) = self.wanted_since else {
            return;
        };
        let alone = wanted.saturating_sub(thread.since);
        let allowed = slice.max(alone).saturating_add(self.checker.tolerance);
        if used > allowed {
            self.report
                .add(wrong(Wrong::SliceTooLong { used, allowed }));
            if let Some(thread) = self.threads.get_mut(&id) {
                thread.slice = None;
            }
        }
    }

    /// What is known about `id`; `None` if it must have been spawned and was not.
    fn state(&self, id: ThreadId) -> Option<State> {
        match self.threads.get(&id) {
            Some(thread) => Some(thread.state),
            None if self.lost => Some(State::Unknown),
            None => None,
        }
    }

    fn enter(&mut self, id: ThreadId, state: State) {
        let thread = Thread {
            state,
            since: self.now,
            since_run: self.run_clock,
            slice: None,
        };
        let before = self.threads.insert(id, thread);
        let was_ready = before.is_some_and(|thread| thread.state == State::Ready);
        self.ready -= usize::from(was_ready);
        self.ready += usize::from(state == State::Ready);
        match self.ready {
            0 => self.wanted_since = None,
            _ => _ = self.wanted_since.get_or_insert(self.now),
        }
    }

    fn finish(mut self, trace: &Trace) -> Report {
        let index = trace.events.len();
        let at = self.now;
        if let Cpu::Thread(id) = self.cpu {
            // It may have taken the trace itself, so its slice so far counts.
            let wrong = |wrong| Violation {
                index,
                at,
                thread: id,
                wrong,
            };
            self.check_slice(id, &wrong);
        }
        if self.checker.all_finished {
            if self.run {
                self.report.add(Violation {
                    index,
                    at,
                    thread: ThreadId::from_u64(0),
                    wrong: Wrong::RunNotEnded,
                });
            }
            let threads = self.threads.iter();
            let mut unfinished: Vec<_> = threads
                .filter(|(_, thread)| thread.state != State::Finished)
                .map(|(id, thread)| (*id, thread.state))
                .collect();
            unfinished.sort_unstable_by_key(|(id, _)| *id);
            for (thread, state) in unfinished {
                self.report.add(Violation {
                    index,
                    at,
                    thread,
                    wrong: Wrong::NotFinished { state },
                });
            }
        }
        self.report.threads = self.threads.len();
        self.report
    }
}

/// Whether a trace without its beginning starts within a run, by the first event that
/// tells.
fn starts_within_run(trace: &Trace) -> bool {
    let tells = trace.events.iter().find_map(|event| match event.what {
        Traced::RunStarted => Some(false),
        Traced::RunEnded | Traced::Dispatched { .. } => Some(true),
        what if only_running(what) => Some(true),
        _ => None,
    });
    tells.unwrap_or(false)
}

/// Whether only a running thread can do this.
fn only_running(what: Traced) -> bool {
    matches!(
        what,
        Traced::Preempted | Traced::Yielded | Traced::Paused | Traced::Returned
    )
}

/// Whether this can happen to a thread in `state`.
fn possible(state: State, what: Traced) -> bool {
    match what {
        what if only_running(what) => matches!(state, State::Running | State::Unknown),
        Traced::Parked => state != State::Parked && state != State::Finished,
        Traced::Woken => matches!(state, State::Parked | State::Unknown),
        _ => state != State::Finished,
    }
}
