//! The measurement: a process of each build, told in turns what to do.
//!
//! Each sample is between two of its baseline, in the same process, and its ratio is
//! to the mean of these two: what changes slowly, such as the clock of the core,
//! cancels out. Where code and data happen to lie stays the same for as long as a
//! process lives, and makes a difference of up to a tenth: so all is done with several pairs
//! of processes, each with another layout of the code. Guest threads under signals are
//! compared with calls of the same instances, after it was made sure that their code is the
//! baseline's, byte by byte.
//!
//! Judged is the CPU time of the OS thread that runs the guests. It stands still while
//! another process has the core, and the switches, signals and their handlers are in
//! it. (The epochs' timer thread is not.)

use super::case::{Build, Case, Set};
use super::figures::{Figures, Sample};
use crate::beside_stock::{self, Pair, Programs};
use crate::piped::Piped;
use crate::report::Row;
use crate::served::Mode;
use crate::workloads::{BROAD, PAPER, Workload};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Pairs of processes.
    pub layouts: usize,
    /// Rounds per workload and pair: at least, at most, and after how long there is
    /// to be no further one.
    pub rounds: (usize, usize),
    pub budget: Duration,
    /// How long a sample of one call takes, at least.
    pub sample: Duration,
    /// For the paper's workloads, and for the others.
    pub paper: Vec<Chain>,
    pub broad: Vec<Chain>,
    /// What the ratio of a workload should not be above.
    pub aim: fn(&str, &Case) -> Option<f64>,
}

/// Cases of one build that are measured one after the other, with their baselines between.
#[derive(Clone, Debug)]
pub struct Chain {
    pub cases: Vec<Case>,
    /// In each of how many rounds.
    pub every: usize,
}

/// The workloads of the set `only`, or of both, or the one that is called `name`.
pub fn select(only: Option<Set>, name: Option<&str>) -> Result<Vec<(Set, &'static Workload)>> {
    let paper = PAPER.iter().map(|workload| (Set::Paper, workload));
    let broad = BROAD.iter().map(|workload| (Set::Broad, workload));
    let all = || paper.clone().chain(broad.clone());
    let selected: Vec<_> = all()
        .filter(|(set, _)| only.is_none_or(|only| only == *set))
        .filter(|(_, workload)| name.is_none_or(|name| name == workload.name))
        .collect();
    if selected.is_empty() {
        let names: Vec<&str> = all().map(|(_, workload)| workload.name).collect();
        bail!("there is no such workload; there are: {}", names.join(", "));
    }
    Ok(selected)
}

/// How many steps the progress bar has.
pub fn steps(workloads: usize, plan: &Plan) -> u64 {
    (workloads * plan.layouts * plan.rounds.1) as u64
}

/// Measures `workloads` and returns their rows, in order.
pub fn measure(
    workloads: &[(Set, &'static Workload)],
    programs: &Programs,
    plan: &Plan,
    progress: &ProgressBar,
) -> Result<Vec<Row>> {
    let mut all: Vec<Turns<'_>> = workloads
        .iter()
        .map(|(set, workload)| Turns::new(*set, workload, plan))
        .collect();
    beside_stock::in_pairs(programs, plan.layouts, |pair| {
        for turns in &mut all {
            progress.set_message(turns.workload.name);
            turns
                .layout(pair, progress)
                .with_context(|| format!("workload `{}`", turns.workload.name))?;
        }
        Ok(())
    })?;
    Ok(all.iter().flat_map(Turns::rows).collect())
}

fn ask(process: &mut Piped, name: &str, case: &Case, times: u32) -> Result<Sample> {
    let (mode, count, slice) = (case.mode, case.count, case.slice.unwrap_or(0));
    let answer = process.ask(&format!("{name} {mode} {count} {times} {slice}"))?;
    let figures: Vec<u64> = answer.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [cpu, wall, preemptions, fuel] = figures[..] else {
        bail!("the answer was `{answer}`, and not four numbers");
    };
    Ok(Sample {
        cpu: cpu as f64,
        wall: wall as f64,
        preemptions: preemptions as f64,
        fuel,
    })
}

/// One workload, and what was measured of it so far.
struct Turns<'a> {
    set: Set,
    workload: &'static Workload,
    plan: &'a Plan,
    chains: &'a [Chain],
    /// How often each call and each thread does the work, so that it takes a sample.
    times: u32,
    /// The fuel of so many calls, and that of one which does the work once.
    fuel: BTreeMap<usize, u64>,
    fuel_once: u64,
    /// In the order of measuring.
    figures: Vec<(Case, Figures)>,
}

impl<'a> Turns<'a> {
    fn new(set: Set, workload: &'static Workload, plan: &'a Plan) -> Turns<'a> {
        Turns {
            set,
            workload,
            plan,
            chains: match set {
                Set::Paper => &plan.paper,
                Set::Broad => &plan.broad,
            },
            times: 0,
            fuel: BTreeMap::new(),
            fuel_once: 0,
            figures: Vec::new(),
        }
    }

    /// Adds the samples of one pair of processes.
    fn layout(&mut self, pair: &mut Pair, progress: &ProgressBar) -> Result<()> {
        if self.times == 0 {
            self.calibrate(&mut pair.ours)?;
            self.consume(pair)?;
        }
        let (least, most) = self.plan.rounds;
        let start = Instant::now();
        for round in 0..most {
            let begin = Instant::now();
            let mut chains = self.chains.to_vec();
            // They take turns at being first, too.
            if round % 2 == 1 {
                chains.reverse();
            }
            for mut chain in chains {
                if round % chain.every == 0 {
                    let first = round / chain.every % chain.cases.len();
                    chain.cases.rotate_left(first);
                    self.chain(pair, &chain.cases)?;
                }
            }
            progress.inc(1);
            // A further round would take as long as this one.
            if round + 1 >= least && start.elapsed() + begin.elapsed() > self.plan.budget {
                progress.inc((most - round - 1) as u64);
                break;
            }
        }
        for (case, figures) in &self.figures {
            ensure!(figures.preempted(case), "too few preemptions: {case:?}");
        }
        Ok(())
    }

    /// Finds out how often the work fits into a sample.
    fn calibrate(&mut self, process: &mut Piped) -> Result<()> {
        let wanted = self.plan.sample.as_nanos() as f64;
        let call = Case::calls(Build::Ours, Mode::Baseline, 1);
        let mut times = 1;
        loop {
            let mut took = f64::MAX;
            // The best of two, as the first one finds cold caches.
            for _ in 0..2 {
                took = took.min(ask(process, self.workload.name, &call, times)?.cpu);
            }
            if took * 2.0 >= wanted {
                self.times = (wanted / took * f64::from(times)).ceil() as u32;
                return Ok(());
            }
            times *= 2;
        }
    }

    /// Takes note of the fuel that is consumed.
    fn consume(&mut self, pair: &mut Pair) -> Result<()> {
        let name = self.workload.name;
        let fuel = |process: &mut Piped, count, times| {
            let calls = Case::calls(Build::Ours, Mode::Fuel, count);
            ask(process, name, &calls, times).map(|sample| sample.fuel)
        };
        self.fuel_once = fuel(&mut pair.ours, 1, 1)?;
        if let Some(stock) = &mut pair.stock {
            ensure_same_fuel(fuel(stock, 1, 1)?, self.fuel_once)?;
        }
        for case in self.chains.iter().flat_map(|chain| &chain.cases) {
            if case.mode == Mode::Fuel && !self.fuel.contains_key(&case.count) {
                let fuel = fuel(&mut pair.ours, case.count, self.times)?;
                self.fuel.insert(case.count, fuel);
            }
        }
        Ok(())
    }

    /// The `cases`, each between two samples of its baseline.
    fn chain(&mut self, pair: &mut Pair, cases: &[Case]) -> Result<()> {
        let (name, times) = (self.workload.name, self.times);
        // The baseline's samples, one after the other.
        let mut baselines: Vec<(Case, Sample)> = Vec::new();
        for case in cases {
            let process = match case.build {
                Build::Ours => &mut pair.ours,
                Build::Stock => match &mut pair.stock {
                    Some(stock) => stock,
                    None => return Ok(()),
                },
            };
            let baseline = case.baseline();
            let before = match baselines.last() {
                Some((same, sample)) if *same == baseline => *sample,
                _ => {
                    let sample = ask(process, name, &baseline, times)?;
                    baselines.push((baseline, sample));
                    sample
                }
            };
            let sample = ask(process, name, case, times)?;
            let after = ask(process, name, &baseline, times)?;
            if case.mode == Mode::Fuel {
                ensure_same_fuel(sample.fuel, self.fuel[&case.count])?;
            }
            self.add(case, [before, sample, after]);
            baselines.push((baseline, after));
        }
        // Beside plain calls, the baseline is a case too: what the method makes of no
        // difference.
        if cases.iter().all(|case| case.slice.is_none()) {
            for three in baselines.windows(3) {
                let samples = [three[0].1, three[1].1, three[2].1];
                self.add(&three[1].0, samples);
            }
        }
        Ok(())
    }

    fn add(&mut self, case: &Case, samples: [Sample; 3]) {
        let place = self.figures.iter().position(|(known, _)| known == case);
        let place = place.unwrap_or_else(|| {
            self.figures.push((*case, Figures::default()));
            self.figures.len() - 1
        });
        self.figures[place].1.add(case, samples, self.times);
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.figures.iter().map(|(case, figures)| {
            let aim = (self.plan.aim)(self.workload.name, case);
            figures.row(self.set, self.workload, case, self.fuel_once, aim)
        });
        rows.collect()
    }
}

/// # Errors
///
/// If what is consumed here is not what is consumed there.
fn ensure_same_fuel(fuel: u64, ours: u64) -> Result<()> {
    ensure!(
        fuel == ours,
        "{fuel} units of fuel were consumed, and {ours} by plain calls in this build"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_selected_by_set_and_by_name() -> Result<()> {
        let names = |only, name| {
            let selected = select(only, name)?;
            wasmtime::error::Ok(selected.iter().map(|(_, w)| w.name).collect::<Vec<_>>())
        };
        assert_eq!(names(Some(Set::Paper), None)?, ["fib", "dot", "matmul"]);
        assert_eq!(names(None, Some("sort"))?, ["sort"]);
        assert_eq!(names(None, None)?.len(), PAPER.len() + BROAD.len());
        let error = names(Some(Set::Paper), Some("sort")).unwrap_err();
        assert!(error.to_string().contains("fib, dot"), "{error}");
        Ok(())
    }

    #[test]
    fn different_fuel_is_an_error() {
        assert!(ensure_same_fuel(7, 7).is_ok());
        assert!(ensure_same_fuel(7, 8).is_err());
    }
}
