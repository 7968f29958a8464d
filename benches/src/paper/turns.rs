//! The measurement: a process of each build, told in turns what to do.
//!
//! Each sample is between two of the baseline, in the same process, and its ratio is
//! to the mean of these two: what changes slowly, such as the clock of the core,
//! cancels out. Where code and data happen to lie stays the same for as long as a
//! process lives, and makes a difference too: so all is done with several pairs of
//! processes, each with another layout of the code.
//!
//! Judged is the CPU time of the OS thread that runs the guests. It stands still while
//! another process has the core, and the switches, signals and their handlers are in
//! it. (The epochs' timer thread is not.)

use super::rows::{Build, Figures, Row, Sample, Set, aim};
use super::server::Mode;
use crate::piped::Piped;
use crate::workloads::{BROAD, PAPER, Workload};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Preemption, Result, bail, ensure};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Pairs of processes.
    pub layouts: usize,
    /// Rounds per workload and pair: at least, at most, and after how long there is
    /// to be no further one.
    pub rounds: (usize, usize),
    pub budget: Duration,
    /// How long a sample takes, at least.
    pub sample: Duration,
    /// Numbers of guest threads, for the paper's workloads and for the others.
    pub threads: (&'static [usize], &'static [usize]),
}

/// The programs to measure.
#[derive(Clone, Debug)]
pub struct Programs {
    pub ours: PathBuf,
    pub stock: Option<PathBuf>,
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
pub fn steps(workloads: usize, effort: &Effort) -> u64 {
    (workloads * effort.layouts * effort.rounds.1) as u64
}

/// Measures `workloads` and returns their rows, in order.
pub fn measure(
    workloads: &[(Set, &'static Workload)],
    programs: &Programs,
    effort: &Effort,
    progress: &ProgressBar,
) -> Result<Vec<Row>> {
    let mut all: Vec<Turns<'_>> = workloads
        .iter()
        .map(|(set, workload)| Turns::new(*set, workload, effort))
        .collect();
    for layout in 0..effort.layouts {
        let mut processes = Processes::start(programs, layout)?;
        for turns in &mut all {
            progress.set_message(turns.workload.name);
            turns
                .layout(&mut processes, progress)
                .with_context(|| format!("workload `{}`", turns.workload.name))?;
        }
    }
    Ok(all.iter().flat_map(Turns::rows).collect())
}

/// A pair of them.
struct Processes {
    ours: Piped,
    stock: Option<Piped>,
}

/// What is asked for: so many calls, or so many guest threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Calls(usize),
    Threads(usize),
}

impl Processes {
    fn start(programs: &Programs, layout: usize) -> Result<Processes> {
        let layout = layout.to_string();
        let stock = programs.stock.as_ref();
        let stock = stock.map(|program| Piped::start(Command::new(program).arg(&layout)));
        let mut ours = Command::new(&programs.ours);
        ours.args(["--serve", "--layout", &layout]);
        Ok(Processes {
            ours: Piped::start(&mut ours)?,
            stock: stock.transpose()?,
        })
    }

    fn of(&mut self, build: Build) -> Option<&mut Piped> {
        match build {
            Build::Ours => Some(&mut self.ours),
            Build::Stock => self.stock.as_mut(),
        }
    }
}

fn ask(process: &mut Piped, name: &str, mode: Mode, how: How, times: u32) -> Result<Sample> {
    let (how, count) = match how {
        How::Calls(count) => ("calls", count),
        How::Threads(count) => ("threads", count),
    };
    let answer = process.ask(&format!("{name} {mode} {how} {count} {times}"))?;
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
    effort: &'a Effort,
    /// How often each call and each thread does the work, so that it takes a sample.
    times: u32,
    /// The fuel of so many calls, and that of one which does the work once.
    fuel: BTreeMap<usize, u64>,
    fuel_once: u64,
    figures: BTreeMap<(Build, How, Mode), Figures>,
}

impl<'a> Turns<'a> {
    fn new(set: Set, workload: &'static Workload, effort: &'a Effort) -> Turns<'a> {
        Turns {
            set,
            workload,
            effort,
            times: 0,
            fuel: BTreeMap::new(),
            fuel_once: 0,
            figures: BTreeMap::new(),
        }
    }

    /// Numbers of guest threads.
    fn threads(&self) -> &'static [usize] {
        match self.set {
            Set::Paper => self.effort.threads.0,
            Set::Broad => self.effort.threads.1,
        }
    }

    /// Adds the samples of one pair of processes.
    fn layout(&mut self, processes: &mut Processes, progress: &ProgressBar) -> Result<()> {
        if self.times == 0 {
            self.calibrate(&mut processes.ours)?;
            self.consume(processes)?;
        }
        let (least, most) = self.effort.rounds;
        let start = Instant::now();
        for round in 0..most {
            let begin = Instant::now();
            // They take turns at being first, too.
            let mut builds = [Build::Stock, Build::Ours];
            builds.rotate_left(round % 2);
            for build in builds {
                self.calls(processes, build, round)?;
            }
            // They take long, and there are many of them: every second round does.
            if round % 2 == 0 {
                for &count in self.threads() {
                    self.guest_threads(&mut processes.ours, count, round / 2)?;
                }
            }
            progress.inc(1);
            // A further round would take as long as this one.
            if round + 1 >= least && start.elapsed() + begin.elapsed() > self.effort.budget {
                progress.inc((most - round - 1) as u64);
                break;
            }
        }
        self.ensure_preempted()
    }

    /// Without preemptions, nothing would have been measured.
    fn ensure_preempted(&self) -> Result<()> {
        for ((_, how, mode), figures) in &self.figures {
            ensure!(
                !matches!(how, How::Threads(2..)) || figures.preempted(),
                "guest threads were not preempted under {mode}"
            );
        }
        Ok(())
    }

    /// Finds out how often the work fits into a sample.
    fn calibrate(&mut self, process: &mut Piped) -> Result<()> {
        let wanted = self.effort.sample.as_nanos() as f64;
        let mut times = 1;
        loop {
            let mut took = f64::MAX;
            // The best of two, as the first one finds cold caches.
            for _ in 0..2 {
                let name = self.workload.name;
                let sample = ask(process, name, Mode::Baseline, How::Calls(1), times)?;
                took = took.min(sample.cpu);
            }
            if took * 2.0 >= wanted {
                self.times = (wanted / took * f64::from(times)).ceil() as u32;
                return Ok(());
            }
            times *= 2;
        }
    }

    /// Takes note of the fuel that is consumed.
    fn consume(&mut self, processes: &mut Processes) -> Result<()> {
        let name = self.workload.name;
        let fuel = |process: &mut Piped, count, times| {
            ask(process, name, Mode::Fuel, How::Calls(count), times).map(|sample| sample.fuel)
        };
        self.fuel_once = fuel(&mut processes.ours, 1, 1)?;
        if let Some(stock) = &mut processes.stock {
            ensure_same_fuel(fuel(stock, 1, 1)?, self.fuel_once)?;
        }
        for &count in [1].iter().chain(self.threads()) {
            let fuel = fuel(&mut processes.ours, count, self.times)?;
            self.fuel.insert(count, fuel);
        }
        Ok(())
    }

    /// Calls with checks that never fire.
    fn calls(&mut self, processes: &mut Processes, build: Build, round: usize) -> Result<()> {
        let Some(process) = processes.of(build) else {
            return Ok(());
        };
        let steps = [Mode::Fuel, Mode::Epoch].map(|mode| (mode, How::Calls(1)));
        let baselines = self.chain(process, build, steps, 1, round)?;
        for three in baselines.windows(3) {
            let figures = self.figures.entry((build, How::Calls(1), Mode::Baseline));
            let times = self.times;
            figures
                .or_default()
                .add(three[0], three[1], three[2], times);
        }
        Ok(())
    }

    /// Guest threads that are preempted.
    fn guest_threads(&mut self, process: &mut Piped, count: usize, round: usize) -> Result<()> {
        let mut modes = vec![Mode::Fuel, Mode::Epoch];
        if Preemption::for_this_host() == Preemption::Signal {
            modes.push(Mode::Signal);
        }
        let steps = modes.into_iter().map(|mode| (mode, How::Threads(count)));
        self.chain(process, Build::Ours, steps, count, round)?;
        Ok(())
    }

    /// The `steps`, each between two times `count` calls of the baseline, which are
    /// returned.
    fn chain(
        &mut self,
        process: &mut Piped,
        build: Build,
        steps: impl IntoIterator<Item = (Mode, How)>,
        count: usize,
        round: usize,
    ) -> Result<Vec<Sample>> {
        let (name, times) = (self.workload.name, self.times);
        let mut steps: Vec<_> = steps.into_iter().collect();
        let first = round % steps.len();
        steps.rotate_left(first);
        let calls = How::Calls(count);
        let mut baselines = vec![ask(process, name, Mode::Baseline, calls, times)?];
        for (mode, how) in steps {
            let before = baselines[baselines.len() - 1];
            let sample = ask(process, name, mode, how, times)?;
            let after = ask(process, name, Mode::Baseline, calls, times)?;
            if mode == Mode::Fuel {
                ensure_same_fuel(sample.fuel, self.fuel[&count])?;
            }
            let figures = self.figures.entry((build, how, mode)).or_default();
            figures.add(before, sample, after, times);
            baselines.push(after);
        }
        Ok(baselines)
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.figures.iter().map(|(&(build, how, mode), figures)| {
            let mut row = Row {
                workload: self.workload.name.into(),
                what: self.workload.what.into(),
                set: self.set,
                mode,
                build,
                threads: match how {
                    How::Calls(_) => 0,
                    How::Threads(count) => count,
                },
                median_ms: 0.0,
                ratio: 0.0,
                spread: [0.0; 2],
                wall_ratio: 0.0,
                samples: 0,
                preemptions: 0.0,
                fuel: (mode == Mode::Fuel).then_some(self.fuel_once),
                aim: aim(self.workload.name, mode).filter(|_| build == Build::Ours),
                met: None,
            };
            figures.put(&mut row);
            row
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
