//! What was measured, in figures, and what they should be.

use super::machine::Machine;
use super::server::Mode;
use crate::paired::Spread;
use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs;
use std::path::Path;
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

/// All of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    /// Whether it was a short run.
    pub quick: bool,
    pub rows: Vec<Row>,
}

/// One workload in one mode of one build. All times are CPU time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub workload: String,
    pub what: String,
    pub set: Set,
    pub mode: Mode,
    pub build: Build,
    /// 0 if it is called.
    pub threads: usize,
    /// For all threads to do the work once.
    pub median_ms: f64,
    /// To as many calls of code without checks. The baseline's is to the baselines
    /// before and after it: what the method makes of no difference.
    pub ratio: f64,
    /// Its quartiles.
    pub spread: [f64; 2],
    /// Of elapsed time.
    pub wall_ratio: f64,
    pub samples: usize,
    /// Per second of CPU time.
    pub preemptions: f64,
    /// What one call consumes that does the work once.
    pub fuel: Option<u64>,
    /// What the ratio should not be above.
    pub aim: Option<f64>,
    pub met: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    Paper,
    Broad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    Stock,
    Ours,
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> Deserialize<'a> for Mode {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Mode, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// The paper's ratio.
pub fn paper(workload: &str, mode: Mode) -> Option<f64> {
    Some(match (workload, mode) {
        ("fib", Mode::Fuel) => 1.19,
        ("fib", Mode::Epoch) => 0.97,
        ("dot", Mode::Fuel) => 1.48,
        ("dot", Mode::Epoch) => 1.49,
        ("matmul", Mode::Fuel) => 1.25,
        ("matmul", Mode::Epoch) => 1.51,
        _ => return None,
    })
}

/// What this build's ratio should not be above.
pub fn aim(workload: &str, mode: Mode) -> Option<f64> {
    Some(match (workload, mode) {
        ("fib", Mode::Fuel) => 1.30,
        ("fib", Mode::Epoch) => 1.10,
        ("dot", Mode::Fuel) => 1.12,
        ("dot", Mode::Epoch) => 1.02,
        ("matmul", Mode::Fuel) => 1.03,
        ("matmul", Mode::Epoch) => 1.05,
        _ => return None,
    })
}

/// What share of stock's overhead over the broader set this build's should not be
/// above.
pub const SHARE_OF_STOCK: f64 = 0.5;

impl Report {
    pub fn read(path: &Path) -> Result<Report> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not what `--json` writes", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn row(&self, workload: &str, build: Build, mode: Mode, threads: usize) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.workload == workload && (row.build, row.mode, row.threads) == (build, mode, threads)
        })
    }

    /// The workloads of a set, and what they are.
    pub fn workloads(&self, set: Set) -> Vec<(&str, &str)> {
        let mut workloads: Vec<(&str, &str)> = Vec::new();
        for row in self.rows.iter().filter(|row| row.set == set) {
            if workloads.iter().all(|(name, _)| *name != row.workload) {
                workloads.push((&row.workload, &row.what));
            }
        }
        workloads
    }

    /// How many threads there were in a set.
    pub fn thread_counts(&self, set: Set) -> Vec<usize> {
        let rows = self.rows.iter().filter(|row| row.set == set);
        let mut counts: Vec<usize> = rows.map(|row| row.threads).filter(|n| *n > 0).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    /// The ratios of the broader set in such a mode.
    pub fn broad(&self, build: Build, mode: Mode, threads: usize) -> Vec<f64> {
        let rows = self.rows.iter().filter(|row| {
            row.set == Set::Broad && (row.build, row.mode, row.threads) == (build, mode, threads)
        });
        rows.map(|row| row.ratio).collect()
    }

    /// How the broader set fares in `mode`, called, in both builds. `None` if one of
    /// them was not measured.
    pub fn beside_stock(&self, mode: Mode) -> Option<BesideStock> {
        let stock = geometric_mean(&self.broad(Build::Stock, mode, 0))?;
        let ours = geometric_mean(&self.broad(Build::Ours, mode, 0))?;
        let slower = self
            .workloads(Set::Broad)
            .into_iter()
            .filter_map(|(name, _)| {
                let row = |build| self.row(name, build, mode, 0);
                let (ours, stock) = (row(Build::Ours)?, row(Build::Stock)?);
                let slower = Slower {
                    workload: name.into(),
                    ours: ours.ratio,
                    stock: stock.ratio,
                };
                (ours.spread[0] > stock.spread[1]).then_some(slower)
            });
        Some(BesideStock {
            stock,
            ours,
            slower: slower.collect(),
        })
    }

    /// # Errors
    ///
    /// If this is too little to tell readers of.
    pub fn ensure_complete(&self) -> Result<()> {
        ensure!(
            !self.quick,
            "these are the figures of a `--quick` run, and docs/paper.md needs those of a full one"
        );
        for set in [Set::Paper, Set::Broad] {
            for build in [Build::Stock, Build::Ours] {
                ensure!(
                    self.rows
                        .iter()
                        .any(|row| (row.set, row.build) == (set, build)),
                    "docs/paper.md needs the figures of all workloads in both builds"
                );
            }
        }
        Ok(())
    }
}

/// Geometric means of the ratios of the broader set.
#[derive(Clone, Debug)]
pub struct BesideStock {
    pub stock: f64,
    pub ours: f64,
    /// The workloads whose ratio is above stock's, beyond what ratios vary by: the
    /// quartiles of both do not overlap.
    pub slower: Vec<Slower>,
}

/// A workload, and its ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct Slower {
    pub workload: String,
    pub ours: f64,
    pub stock: f64,
}

impl BesideStock {
    /// Our overhead as a share of stock's.
    pub fn share(&self) -> f64 {
        (self.ours - 1.0) / (self.stock - 1.0)
    }

    pub fn met(&self) -> bool {
        self.ours - 1.0 <= SHARE_OF_STOCK * (self.stock - 1.0)
    }
}

/// `None` if there are no figures.
pub fn geometric_mean(figures: &[f64]) -> Option<f64> {
    let logs: f64 = figures.iter().map(|figure| figure.ln()).sum();
    (!figures.is_empty()).then(|| (logs / figures.len() as f64).exp())
}

/// What was measured of one row, a figure per sample.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    millis: Vec<f64>,
    ratio: Vec<f64>,
    wall_ratio: Vec<f64>,
    preemptions: Vec<f64>,
}

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In nanoseconds.
    pub cpu: f64,
    pub wall: f64,
    pub preemptions: f64,
    pub fuel: u64,
}

impl Figures {
    /// `before` and `after` are baselines. All did the work `times` times.
    pub fn add(&mut self, before: Sample, sample: Sample, after: Sample, times: u32) {
        let ratio = |of: fn(&Sample) -> f64| 2.0 * of(&sample) / (of(&before) + of(&after));
        self.ratio.push(ratio(|sample| sample.cpu));
        self.wall_ratio.push(ratio(|sample| sample.wall));
        self.millis.push(sample.cpu / 1e6 / f64::from(times));
        self.preemptions.push(sample.preemptions / sample.cpu * 1e9);
    }

    /// Whether there were any preemptions.
    pub fn preempted(&self) -> bool {
        self.preemptions.iter().any(|rate| *rate > 0.0)
    }

    /// Puts the figures into `row`, to so many digits that they say what they can.
    pub fn put(&self, row: &mut Row) {
        let digits = |figure: f64, digits: i32| {
            let scale = 10f64.powi(digits);
            (figure * scale).round() / scale
        };
        let median = |figures: &[f64]| Spread::of(figures.to_vec()).median;
        let ratio = Spread::of(self.ratio.clone());
        row.median_ms = digits(median(&self.millis), 3);
        row.ratio = digits(ratio.median, 4);
        row.spread = [digits(ratio.low, 4), digits(ratio.high, 4)];
        row.wall_ratio = digits(median(&self.wall_ratio), 4);
        row.samples = self.ratio.len();
        row.preemptions = digits(median(&self.preemptions), 1);
        row.met = row.aim.map(|aim| ratio.median <= aim);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn row(workload: &str, build: Build, mode: Mode, threads: usize, ratio: f64) -> Row {
        let set = match workload {
            "fib" | "dot" | "matmul" => Set::Paper,
            _ => Set::Broad,
        };
        let aim = aim(workload, mode).filter(|_| build == Build::Ours);
        Row {
            workload: workload.into(),
            what: format!("{workload}, in words"),
            set,
            mode,
            build,
            threads,
            median_ms: 10.0 * ratio,
            ratio,
            spread: [ratio - 0.01, ratio + 0.01],
            wall_ratio: ratio,
            samples: 25,
            preemptions: if threads > 0 { 100.0 } else { 0.0 },
            fuel: (mode == Mode::Fuel).then_some(1000),
            aim,
            met: aim.map(|aim| ratio <= aim),
        }
    }

    /// A report with all that one can have.
    pub fn sample() -> Report {
        let mut rows = Vec::new();
        for workload in ["fib", "dot", "matmul", "sort", "hash"] {
            for build in [Build::Stock, Build::Ours] {
                rows.push(row(workload, build, Mode::Baseline, 0, 1.0));
            }
            for (mode, stock, ours) in [(Mode::Fuel, 1.6, 1.29), (Mode::Epoch, 1.2, 1.09)] {
                rows.push(row(workload, Build::Stock, mode, 0, stock));
                rows.push(row(workload, Build::Ours, mode, 0, ours));
            }
            for threads in [1, 2] {
                for mode in [Mode::Fuel, Mode::Epoch, Mode::Signal] {
                    rows.push(row(workload, Build::Ours, mode, threads, 1.01));
                }
            }
        }
        Report {
            machine: Machine {
                cpu: "A CPU".into(),
                cores: 2,
                kernel: "Linux 6.18".into(),
                rustc: "rustc 1.95.0".into(),
                date: "2026-11-21".into(),
            },
            quick: false,
            rows,
        }
    }

    fn took(nanos: f64) -> Sample {
        Sample {
            cpu: nanos,
            wall: 2.0 * nanos,
            preemptions: 3.0,
            fuel: 0,
        }
    }

    #[test]
    fn ratio_is_to_the_mean_of_the_neighbours() {
        let mut figures = Figures::default();
        figures.add(took(10e6), took(30e6), took(20e6), 3);
        figures.add(took(20e6), took(40e6), took(20e6), 4);
        figures.add(took(20e6), took(60e6), took(20e6), 6);
        let mut row = row("fib", Build::Ours, Mode::Fuel, 2, 0.0);
        figures.put(&mut row);
        assert_eq!((row.ratio, row.spread), (2.0, [2.0, 2.5]));
        assert_eq!((row.median_ms, row.wall_ratio, row.samples), (10.0, 2.0, 3));
        assert_eq!((row.preemptions, row.met), (75.0, Some(false)));
    }

    #[test]
    fn geometric_mean_is_of_ratios() {
        let mean = geometric_mean(&[1.0, 4.0]).expect("there are figures");
        assert!((mean - 2.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn overhead_is_to_be_half_of_the_published_one() {
        let with = |ours| BesideStock {
            stock: 1.4,
            ours,
            slower: Vec::new(),
        };
        assert!(with(1.19).met() && !with(1.21).met());
        assert!((with(1.1).share() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn slower_is_what_lies_above_beyond_the_quartiles() {
        let mut report = sample();
        assert_eq!(
            report.beside_stock(Mode::Epoch).map(|beside| beside.slower),
            Some(Vec::new())
        );
        for row in &mut report.rows {
            if row.build == Build::Ours && row.workload == "hash" && row.mode == Mode::Epoch {
                (row.ratio, row.spread) = (1.23, [1.22, 1.24]);
            }
        }
        let beside = report.beside_stock(Mode::Epoch).expect("it is there");
        let hash = Slower {
            workload: "hash".into(),
            ours: 1.23,
            stock: 1.2,
        };
        assert_eq!(beside.slower, [hash]);
        report.rows.retain(|row| row.build == Build::Ours);
        assert!(report.beside_stock(Mode::Epoch).is_none());
    }

    #[test]
    fn docs_need_a_full_run_with_both_builds() {
        let mut report = sample();
        assert!(report.ensure_complete().is_ok());
        report.quick = true;
        assert!(report.ensure_complete().is_err());
        report.quick = false;
        report.rows.retain(|row| row.build == Build::Ours);
        assert!(report.ensure_complete().is_err());
    }

    #[test]
    fn json_has_the_words_that_tools_look_for() -> Result<()> {
        let json = serde_json::to_value(sample())?;
        let rows = json["rows"].as_array().expect("rows are an array");
        let row = &rows[2];
        assert_eq!(
            (&row["mode"], &row["build"]),
            (&"fuel".into(), &"stock".into())
        );
        assert!(row["spread"].is_array() && row["threads"].is_u64());
        let again: Report = serde_json::from_value(json)?;
        assert_eq!(again.rows.len(), sample().rows.len());
        Ok(())
    }
}
