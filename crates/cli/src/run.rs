//! The run itself, and its outcome.

use crate::console::{Console, Target};
use crate::interleaving::Interleaving;
use crate::interrupt::Interrupt;
use crate::live::{Live, Row};
use crate::mode;
use crate::outcome::Outcome;
use crate::picks::Made;
use crate::plan::Plan;
use crate::policy::Ask;
use crate::report::{Report, Traced};
use crate::started::Started;
use crate::thread::Thread;
use crate::times::share;
use crate::wasi::Host;
use preempt_policies::Schedule;
use std::time::{Duration, Instant};
use wasmtime::preempt::Trace;
use wasmtime::{Result, RunEnd, RunSummary, Slice, Store};

/// How often to redraw the live view.
const REDRAW: Duration = Duration::from_millis(100);

/// The outcome of a run.
pub struct Ran {
    /// An error here is not a guest's doing.
    pub report: Result<Report>,
    /// A line that tells people what was run.
    pub title: String,
    pub trace: Option<Trace>,
    /// Present if the run was to be recorded.
    pub schedule: Option<Schedule>,
    /// Holds the rest of the guests' output.
    pub console: Console,
}

/// Guests that have been started.
pub struct Run {
    pub store: Store<Host>,
    pub guests: Vec<Started>,
    pub plan: Plan,
    pub policy: String,
    pub seed: Option<u64>,
    /// The seed that repeats the run, if one does.
    pub repeats: Option<u64>,
    pub ask: Ask,
    pub console: Console,
    pub interrupt: Interrupt,
}

impl Run {
    /// Runs the guests until all have finished, the time is up, there is a Ctrl-C, or they
    /// wait for each other.
    pub fn run(mut self) -> Ran {
        let totals = self.run_in_view();
        // Even after an error: the trace may show its cause.
        self.store.shutdown_wasm_threads();
        let mut trace = self.store.wasm_threads().take_trace();
        if let Some(trace) = &mut trace {
            // The Store has forgotten threads whose exit was taken.
            let known = self.guests.iter().flat_map(Started::threads);
            trace.names.extend(known);
            trace.names.sort_unstable_by_key(|(id, _)| *id);
            trace.names.dedup_by_key(|(id, _)| *id);
        }
        let interleaving = self.plan.step.zip(trace.as_ref()).map(|(step, trace)| {
            let guests = self.guests.iter().enumerate();
            let threads = guests.flat_map(|(index, guest)| {
                let threads = guest.threads().into_iter();
                threads.map(move |(id, _)| (id, index))
            });
            Interleaving::of(trace, step, threads.collect())
        });
        let Made {
            mut schedule,
            replayed,
        } = (self.ask)(&mut self.store);
        if let Some(schedule) = &mut schedule {
            schedule.set_seed(self.repeats);
        }
        let (mode, policy) = (self.plan.mode, &self.policy);
        let slice = mode::show(self.plan.slice);
        Ran {
            console: self.console.clone(),
            title: format!("{mode} preemption, slices of {slice}, policy {policy}"),
            report: totals.map(|totals| Report {
                replayed,
                traced: trace.as_ref().map(Traced::of),
                ..self.report(totals, interleaving)
            }),
            trace,
            schedule,
        }
    }

    fn run_in_view(&mut self) -> Result<Totals> {
        let names: Vec<String> = self.guests.iter().map(Started::name).collect();
        let is_watched = self.plan.may_be_watched && Target::Stdout.is_terminal();
        let live = is_watched.then(|| Live::new(&names));
        if let Some(live) = &live {
            self.console.attach(live.view());
        }
        let ran = self.run_in_steps(live.as_ref());
        self.console.finish();
        ran
    }

    /// Runs all threads, in steps if somebody watches.
    fn run_in_steps(&mut self, live: Option<&Live>) -> Result<Totals> {
        let mut totals = Totals::default();
        let started = Instant::now();
        let left = || match self.plan.time {
            Some(time) => time.saturating_sub(started.elapsed()),
            None => Duration::MAX,
        };
        // The end of a step ends a slice, so a step is at least a slice long.
        let redraw = REDRAW.max(match self.plan.slice {
            Slice::Time(slice) => slice,
            _ => Duration::ZERO,
        });
        loop {
            let mut step = left();
            if live.is_some() {
                step = step.min(redraw);
            }
            let summary = self.store.run_wasm_threads_for(step)?;
            totals.add(&summary);
            for guest in &mut self.guests {
                guest.update(&mut self.store);
            }
            if let Some(live) = live {
                let rows: Vec<Row> = self.guests.iter().map(Started::row).collect();
                self.console.draw(live.text(&rows));
            }
            if summary.end != RunEnd::TimeUp || left().is_zero() {
                break;
            }
        }
        totals.elapsed = started.elapsed();
        Ok(totals)
    }

    fn report(self, totals: Totals, interleaving: Option<Interleaving>) -> Report {
        let until_is_over = self.store.data().until.is_over();
        let cpu_time = self.guests.iter().map(|guest| guest.stats.cpu_time).sum();
        let throttled = self.guests.iter().any(|guest| guest.stats.throttles > 0);
        let rows = interleaving.as_ref().map(|it| &it.whole.guests);
        let mut rows = rows.map(|rows| rows.iter());
        let threads: Vec<Thread> = self
            .guests
            .into_iter()
            .map(|guest| Thread {
                threads: guest.started(),
                ended_by: guest.ended_by.clone(),
                others: guest.stuck_others(),
                thread: guest.thread.as_u64(),
                guest: guest.text,
                waits_for: match guest.outcome {
                    Some(_) => None,
                    None => guest.waits_for.map(|wait| wait.to_string()),
                },
                outcome: match guest.outcome.unwrap_or(Outcome::Stopped) {
                    Outcome::Stopped if until_is_over => Outcome::Ended,
                    outcome => outcome,
                },
                cpu_time: guest.stats.cpu_time,
                slices: guest.stats.dispatches,
                preemptions: guest.stats.preemptions,
                throttles: throttled.then_some(guest.stats.throttles),
                share: share(guest.stats.cpu_time, cpu_time),
                fuel: self.plan.counts_fuel.then_some(guest.stats.fuel_consumed),
                interleaving: rows.as_mut().and_then(Iterator::next).cloned(),
            })
            .collect();
        let stopped = |thread: &Thread| matches!(thread.outcome, Outcome::Stopped);
        let ended = |thread: &Thread| matches!(thread.outcome, Outcome::Ended);
        Report {
            preemption: self.plan.mode.to_string(),
            slice: self.plan.slice,
            end: match threads.iter().any(stopped) {
                true if self.interrupt.happened() => "interrupted",
                true if totals.deadlock => "deadlock",
                true => "time_up",
                false if threads.iter().any(ended) => "until",
                false => "all_finished",
            },
            elapsed: totals.elapsed,
            cpu_time,
            slices: totals.dispatches,
            preemptions: totals.preemptions,
            policy: self.policy,
            seed: self.seed,
            replayed: None,
            traced: None,
            searched: None,
            interleaving,
            threads,
        }
    }
}

/// The combined results of all steps.
#[derive(Default)]
struct Totals {
    dispatches: u64,
    preemptions: u64,
    /// The last step ended because nothing could wake anybody.
    deadlock: bool,
    elapsed: Duration,
}

impl Totals {
    fn add(&mut self, step: &RunSummary) {
        self.dispatches += step.dispatches;
        self.preemptions += step.preemptions;
        self.deadlock = step.end == RunEnd::Deadlock;
    }
}
