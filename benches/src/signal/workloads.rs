//! The paper's three workloads: two guest threads that are preempted, beside two
//! calls that nothing interrupts.
//!
//! Each sample of guest threads is between two samples of calls, and its ratio is to
//! the mean of these two, so that what changes slowly (the clock of the core, what
//! the neighbours do) cancels out.
//!
//! Where code and data happen to lie makes a difference of up to a tenth, and stays
//! the same for as long as an instance lives. So guest threads under signals are
//! compared with calls of the very same instances, after it was made sure that an
//! engine without any preemption has compiled the same code, byte by byte. Epochs
//! and fuel put checks into the code, so there the calls are of other instances, on
//! that engine without preemption; all is done with several sets of instances, and
//! the first row of each workload shows what they alone make of a difference.
//!
//! Judged is the CPU time of the OS thread, which stands still while another
//! process has the core; the timer's interrupts, signals and switches are in it.
//! (The epochs' timer thread is not.) Beside it is the ratio of the elapsed time.

use super::Took;
use crate::guest::{self, Stacks};
use crate::paired::Spread;
use crate::workloads::{Answer, Workload};
use serde::Serialize;
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, Preemption, Result, Slice};

mod pair;

use self::pair::Pair;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Sets of instances.
    pub layouts: usize,
    /// Ratios per set and mode.
    pub rounds: usize,
    /// How long a sample takes, at least.
    pub sample: Duration,
    /// Whether some modes are left out.
    pub quick: bool,
}

/// How the two guests are run.
struct Mode {
    name: &'static str,
    preemption: Preemption,
    /// `None` if they are called, one after the other.
    slice: Option<Slice>,
    aim: Option<f64>,
    in_quick: bool,
}

impl Mode {
    /// Whether what it is compared with is calls of its own instances.
    fn beside_itself(&self) -> bool {
        self.preemption == Preemption::Signal && self.slice.is_some()
    }
}

const fn time(millis: u64) -> Option<Slice> {
    Some(Slice::Time(Duration::from_millis(millis)))
}

const MODES: [Mode; 7] = [
    Mode {
        name: "called, other instances",
        preemption: Preemption::Signal,
        slice: None,
        aim: None,
        in_quick: true,
    },
    Mode {
        name: "signal, 10 ms",
        preemption: Preemption::Signal,
        slice: time(10),
        aim: Some(1.01),
        in_quick: true,
    },
    Mode {
        name: "signal, 1 ms",
        preemption: Preemption::Signal,
        slice: time(1),
        aim: Some(1.03),
        in_quick: true,
    },
    Mode {
        name: "epoch, 10 ms",
        preemption: Preemption::Epoch,
        slice: time(10),
        aim: None,
        in_quick: true,
    },
    Mode {
        name: "epoch, 1 ms",
        preemption: Preemption::Epoch,
        slice: time(1),
        aim: None,
        in_quick: false,
    },
    Mode {
        name: "fuel, 10 million",
        preemption: Preemption::Fuel,
        slice: Some(Slice::Fuel(10_000_000)),
        aim: None,
        in_quick: true,
    },
    Mode {
        name: "fuel, 1 million",
        preemption: Preemption::Fuel,
        slice: Some(Slice::Fuel(1_000_000)),
        aim: None,
        in_quick: false,
    },
];

/// One workload in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub mode: &'static str,
    /// Milliseconds of CPU time for both guests to do their work once.
    pub millis: f64,
    /// Of CPU time to that of two calls.
    pub ratio: f64,
    pub ratio_low: f64,
    pub ratio_high: f64,
    /// Of elapsed time.
    pub wall_ratio: f64,
    pub samples: usize,
    /// Per second of CPU time.
    pub preemptions: f64,
    pub aim: Option<f64>,
    pub met: Option<bool>,
}

/// What was measured in one mode, a figure per sample.
#[derive(Clone, Default)]
struct Figures {
    millis: Vec<f64>,
    ratio: Vec<f64>,
    wall_ratio: Vec<f64>,
    preemptions: Vec<f64>,
}

/// A row per mode.
pub fn measure(workload: &Workload, effort: &Effort) -> Result<Vec<Row>> {
    let mut figures = vec![Figures::default(); MODES.len()];
    let answer = workload.answer();
    for _ in 0..effort.layouts {
        measure_layout(workload, &answer, effort, &mut figures)
            .with_context(|| format!("workload `{}`", workload.name))?;
    }
    let measured = MODES.iter().zip(figures);
    let measured = measured.filter(|(_, figures)| !figures.ratio.is_empty());
    let rows = measured.map(|(mode, figures)| {
        let ratio = Spread::of(figures.ratio.clone());
        Row {
            workload: workload.what,
            mode: mode.name,
            millis: Spread::of(figures.millis).median,
            ratio: ratio.median,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
            wall_ratio: Spread::of(figures.wall_ratio).median,
            samples: figures.ratio.len(),
            preemptions: Spread::of(figures.preemptions).median,
            aim: mode.aim,
            met: mode.aim.map(|aim| ratio.median <= aim),
        }
    });
    Ok(rows.collect())
}

/// Adds the samples of one set of instances to `figures`.
fn measure_layout(
    workload: &Workload,
    answer: &Answer,
    effort: &Effort,
    figures: &mut [Figures],
) -> Result<()> {
    let pair = |engine: &Engine| Pair::new(engine, workload.guest);
    let engine = |preemption| guest::engine(preemption, Stacks::OnDemand);
    let mut plain = pair(&Engine::new(&Config::new())?)?;
    let mut signal = pair(&engine(Preemption::Signal)?)?;
    let mut epoch = pair(&engine(Preemption::Epoch)?)?;
    let mut fuel = pair(&engine(Preemption::Fuel)?)?;

    signal.ensure_same_code(&plain)?;

    let modes: Vec<usize> = (0..MODES.len())
        .filter(|i| MODES[*i].in_quick || !effort.quick)
        .collect();
    let mut times = 1;
    while plain.call(times, answer)?.wall < effort.sample {
        times *= 2;
    }
    for round in 0..effort.rounds {
        // The sample of calls that was the last one, if it may be used once more.
        let mut last: Option<(bool, Took)> = None;
        for turn in 0..modes.len() {
            let i = modes[(round + turn) % modes.len()];
            let mode = &MODES[i];
            let itself = mode.beside_itself();
            let before = match last {
                Some((same, took)) if same == itself => took,
                _ if itself => signal.call(times, answer)?,
                _ => plain.call(times, answer)?,
            };
            let guests = match mode.preemption {
                Preemption::Signal => &mut signal,
                Preemption::Epoch => &mut epoch,
                _ => &mut fuel,
            };
            let (took, preemptions) = match mode.slice {
                None => (guests.call(times, answer)?, 0),
                Some(slice) => guests.run(times, slice, answer)?,
            };
            let after = if itself {
                signal.call(times, answer)?
            } else {
                plain.call(times, answer)?
            };
            last = Some((itself, after));
            figures[i].add(times, before, took, after, preemptions);
        }
    }
    Ok(())
}

impl Figures {
    /// `before` and `after` are calls; all of `times` times both guests' work.
    fn add(&mut self, times: i32, before: Took, took: Took, after: Took, preemptions: u64) {
        let ratio = |of: fn(&Took) -> Duration| {
            2.0 * of(&took).as_secs_f64() / (of(&before) + of(&after)).as_secs_f64()
        };
        self.ratio.push(ratio(|took| took.cpu));
        self.wall_ratio.push(ratio(|took| took.wall));
        let seconds = took.cpu.as_secs_f64();
        self.millis.push(seconds * 1e3 / f64::from(times));
        self.preemptions.push(preemptions as f64 / seconds);
    }
}
