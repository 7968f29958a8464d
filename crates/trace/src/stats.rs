//! A trace in numbers: CPU and waiting time of each thread, latencies, and how fair
//! the shares are.

use crate::names::{Names, finishes, shown};
use crate::spans::{Doing, Span, Spans};
use crate::ticks::Ticks;
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::fmt;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// The largest value that a histogram holds. Larger values count as this one.
const LARGEST: u64 = i64::MAX as u64 / 2;

/// A trace in numbers. Times are in ticks.
///
/// If a trace lost its beginning, what began before then counts from the first event.
/// What is still going on at the end counts up to the last event.
///
/// `Display` writes a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// All threads, ordered by id.
    pub threads: Vec<ThreadStats>,
    /// Each time from ready to dispatched, to three significant digits. Counts only
    /// time during runs, since nothing can be dispatched between them.
    pub latency: Histogram<u64>,
    /// Each time on the CPU after one dispatch, to three significant digits.
    pub slices: Histogram<u64>,
    /// Total time spent in runs.
    pub in_runs: u64,
    /// Whether ticks are fuel, not nanoseconds.
    pub fuel: bool,
    /// How many older events the trace lost.
    pub lost: u64,
}

/// One thread in numbers. Times are in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// The thread.
    pub thread: ThreadId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How long it was on the CPU.
    pub cpu: u64,
    /// How long it was ready and waiting for the CPU during runs.
    pub waiting: u64,
    /// How long it was parked.
    pub parked: u64,
    /// How many times it was on the CPU.
    pub slices: u64,
    /// How many of its slices ended by preemption.
    pub preemptions: u64,
    /// How many of its slices it gave back on its own.
    pub yields: u64,
    /// The longest time on the CPU after one dispatch.
    pub longest_slice: u64,
    /// The longest time it waited for the CPU during runs.
    pub longest_wait: u64,
    /// How it finished, if it did.
    pub exit: Option<Traced>,
}

/// A thread's share of the CPU time, and the share its weight entitles it to. Both
/// are fractions of one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Share {
    /// The thread.
    pub thread: ThreadId,
    /// Its share of the CPU time of all threads.
    pub got: f64,
    /// Its share of the weights of all threads.
    pub entitled: f64,
}

impl Stats {
    /// The numbers of `trace`.
    pub fn of(trace: &Trace) -> Self {
        let mut tally = Tally {
            threads: HashMap::new(),
            latency: histogram(),
            slices: histogram(),
            in_runs: 0,
        };
        let mut spans = Spans::of(trace);
        for event in &trace.events {
            spans.step(event).for_each(|span| tally.add(&span));
            if !matches!(event.what, Traced::RunStarted | Traced::RunEnded) {
                let exit = finishes(event.what).then_some(event.what);
                let thread = tally.thread(event.thread);
                thread.exit = exit.or(thread.exit);
            }
        }
        spans.finish().iter().for_each(|span| tally.add(span));

        let names = Names::of(trace);
        let mut threads: Vec<_> = tally.threads.into_values().collect();
        threads.sort_unstable_by_key(|thread| thread.thread);
        for thread in &mut threads {
            thread.name = names.given(thread.thread).map(str::to_owned);
        }
        Stats {
            threads,
            latency: tally.latency,
            slices: tally.slices,
            in_runs: tally.in_runs,
            fuel: trace.fuel,
            lost: trace.lost,
        }
    }

    /// [Jain's index](jain) of the CPU times.
    ///
    /// It is only meaningful for threads that wanted the CPU all the time: a thread
    /// that finished early or was parked got less but was not short of it.
    pub fn fairness(&self) -> Option<f64> {
        jain(self.threads.iter().map(|thread| thread.cpu as f64))
    }

    /// [Jain's index](jain) of the CPU times, each divided by the thread's weight: 1
    /// if each thread got what its weight entitles it to.
    ///
    /// Threads whose weight is not positive or not finite are left out.
    pub fn weighted_fairness(&self, weight: impl Fn(ThreadId) -> f64) -> Option<f64> {
        let weighted = self.threads.iter().filter_map(|thread| {
            let weight = valid(weight(thread.thread))?;
            Some(thread.cpu as f64 / weight)
        });
        jain(weighted)
    }

    /// What each thread got, and what its weight entitles it to.
    ///
    /// Weights that are not positive or not finite count as zero. Shares of nothing
    /// are zero.
    pub fn shares(&self, weight: impl Fn(ThreadId) -> f64) -> Vec<Share> {
        let weights: Vec<f64> = self
            .threads
            .iter()
            .map(|thread| valid(weight(thread.thread)).unwrap_or(0.0))
            .collect();
        // Divided by the largest first: a sum of large weights might not be finite.
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let all: f64 = weights.iter().map(|weight| part(*weight, largest)).sum();
        let cpu: f64 = self.threads.iter().map(|thread| thread.cpu as f64).sum();
        let threads = self.threads.iter().zip(weights);
        threads
            .map(|(thread, weight)| Share {
                thread: thread.thread,
                got: part(thread.cpu as f64, cpu),
                entitled: part(part(weight, largest), all),
            })
            .collect()
    }
}

/// Jain's fairness index of some shares: 1 if all are equal, 1/n if one of n has
/// everything.
///
/// It is the square of the sum, divided by n times the sum of the squares (R. Jain,
/// D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination for
/// Resource Allocation in Shared Computer Systems, DEC Research Report TR-301, 1984).
///
/// `None` if there are no shares, all are zero, or one is negative or not finite.
pub fn jain(shares: impl IntoIterator<Item = f64>) -> Option<f64> {
    let shares: Vec<f64> = shares.into_iter().collect();
    let proper = |share: &f64| share.is_finite() && *share >= 0.0;
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 || !shares.iter().all(proper) {
        return None;
    }
    // The index does not depend on the unit, and squares of large numbers might not
    // be finite.
    let parts = || shares.iter().map(|share| share / largest);
    let sum: f64 = parts().sum();
    let squares: f64 = parts().map(|part| part * part).sum();
    Some(sum * sum / (shares.len() as f64 * squares))
}

fn valid(weight: f64) -> Option<f64> {
    (weight.is_finite() && weight > 0.0).then_some(weight)
}

/// `part` of `all`; zero if `all` is zero.
fn part(part: f64, all: f64) -> f64 {
    if all > 0.0 { part / all } else { 0.0 }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("a histogram of three digits can be made")
}

struct Tally {
    threads: HashMap<ThreadId, ThreadStats>,
    latency: Histogram<u64>,
    slices: Histogram<u64>,
    in_runs: u64,
}

impl Tally {
    fn add(&mut self, span: &Span) {
        let time = span.len();
        match span.doing {
            Doing::Run => self.in_runs = self.in_runs.saturating_add(time),
            Doing::Running { .. } => {
                record(&mut self.slices, time);
                let thread = self.thread(span.thread);
                thread.cpu = thread.cpu.saturating_add(time);
                thread.slices += 1;
                thread.longest_slice = thread.longest_slice.max(time);
                thread.preemptions += u64::from(span.end == Some(Traced::Preempted));
                thread.yields += u64::from(span.end == Some(Traced::Yielded));
            }
            Doing::Ready => {
                if matches!(span.end, Some(Traced::Dispatched { .. })) {
                    record(&mut self.latency, span.in_run);
                }
                let thread = self.thread(span.thread);
                thread.waiting = thread.waiting.saturating_add(span.in_run);
                thread.longest_wait = thread.longest_wait.max(span.in_run);
            }
            Doing::Parked => {
                let thread = self.thread(span.thread);
                thread.parked = thread.parked.saturating_add(time);
            }
        }
    }

    fn thread(&mut self, id: ThreadId) -> &mut ThreadStats {
        self.threads.entry(id).or_insert_with(|| ThreadStats {
            thread: id,
            name: None,
            cpu: 0,
            waiting: 0,
            parked: 0,
            slices: 0,
            preemptions: 0,
            yields: 0,
            longest_slice: 0,
            longest_wait: 0,
            exit: None,
        })
    }
}

fn record(histogram: &mut Histogram<u64>, value: u64) {
    // The histogram grows to hold what is recorded, up to this value.
    let recorded = histogram.record(value.min(LARGEST));
    debug_assert!(recorded.is_ok());
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fuel = self.fuel;
        let ticks = |ticks| Ticks { ticks, fuel };
        writeln!(
            f,
            "{:>6}  {:>12}  {:>12}  {:>12}  {:>8}  {:>11}  {:>12}  {:<10}  name",
            "thread", "cpu", "waiting", "parked", "slices", "preemptions", "longest wait", "exit"
        )?;
        for thread in &self.threads {
            writeln!(
                f,
                "{:>6}  {:>12}  {:>12}  {:>12}  {:>8}  {:>11}  {:>12}  {:<10}  {}",
                thread.thread.as_u64(),
                ticks(thread.cpu),
                ticks(thread.waiting),
                ticks(thread.parked),
                thread.slices,
                thread.preemptions,
                ticks(thread.longest_wait),
                thread.exit.map_or("-", shown),
                thread.name.as_deref().unwrap_or("-").escape_debug(),
            )?;
        }
        let threads = || self.threads.iter();
        let latency = threads().map(|thread| thread.longest_wait).max();
        let slices = threads().map(|thread| thread.longest_slice).max();
        for (what, values, longest) in [
            ("latency", &self.latency, latency),
            ("slices", &self.slices, slices),
        ] {
            write!(f, "{what}:")?;
            for quantile in [0.5, 0.9, 0.99, 1.0] {
                // The end of a bucket, which may exceed every value in it.
                let value = values.value_at_quantile(quantile);
                let value = value.min(longest.unwrap_or(0));
                write!(f, " p{} {},", quantile * 100.0, ticks(value))?;
            }
            writeln!(f, " of {}", values.len())?;
        }
        match self.fairness() {
            Some(index) => writeln!(f, "fairness: {index:.3}"),
            None => writeln!(f, "fairness: -"),
        }
    }
}
