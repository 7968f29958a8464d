//! What was measured, and what it should be.

use super::machine::Machine;
use crate::overhead::case::{Build, Case, Overhead, Set};
use crate::paired::Spread;
use crate::report::{Row, write_json};
use crate::served::Mode;
use serde::{Deserialize, Serialize};
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

/// A row of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub row: &'a Row,
    pub of: &'a Overhead,
    pub ratio: Spread,
}

impl Line<'_> {
    fn is(&self, build: Build, mode: Mode, threads: usize) -> bool {
        let case = self.of.case;
        (case.build, case.mode, case.thread_count()) == (build, mode, threads)
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
pub fn aim(workload: &str, case: &Case) -> Option<f64> {
    if case.build == Build::Stock {
        return None;
    }
    Some(match (workload, case.mode) {
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
        write_json(path, self)
    }

    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.rows.iter().filter_map(|row| {
            Some(Line {
                row,
                of: row.overhead.as_ref()?,
                ratio: row.beside.as_ref()?.ratio,
            })
        })
    }

    fn set(&self, set: Set) -> impl Iterator<Item = Line<'_>> {
        self.lines().filter(move |line| line.of.set == set)
    }

    /// `threads` is 0 for calls.
    pub fn line(
        &self,
        workload: &str,
        build: Build,
        mode: Mode,
        threads: usize,
    ) -> Option<Line<'_>> {
        self.lines()
            .find(|line| line.of.workload == workload && line.is(build, mode, threads))
    }

    /// The workloads of a set, and what they are.
    pub fn workloads(&self, set: Set) -> Vec<(&str, &str)> {
        let mut workloads: Vec<(&str, &str)> = Vec::new();
        for line in self.set(set) {
            if workloads.iter().all(|(name, _)| *name != line.of.workload) {
                workloads.push((&line.of.workload, &line.row.what));
            }
        }
        workloads
    }

    /// How many threads there were in a set.
    pub fn thread_counts(&self, set: Set) -> Vec<usize> {
        let counts = self.set(set).map(|line| line.of.case.thread_count());
        let mut counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    /// The ratios of the broader set in such a mode.
    pub fn broad(&self, build: Build, mode: Mode, threads: usize) -> Vec<f64> {
        let lines = self.set(Set::Broad);
        let lines = lines.filter(|line| line.is(build, mode, threads));
        lines.map(|line| line.ratio.median).collect()
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
                let ratio = |build| self.line(name, build, mode, 0).map(|line| line.ratio);
                let (ours, stock) = (ratio(Build::Ours)?, ratio(Build::Stock)?);
                let slower = Slower {
                    workload: name.into(),
                    ours: ours.median,
                    stock: stock.median,
                };
                (ours.low > stock.high).then_some(slower)
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
                    self.set(set).any(|line| line.of.case.build == build),
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::report::Beside;

    pub fn row(workload: &str, build: Build, mode: Mode, threads: usize, ratio: f64) -> Row {
        let set = match workload {
            "fib" | "dot" | "matmul" => Set::Paper,
            _ => Set::Broad,
        };
        let case = match threads {
            0 => Case::calls(build, mode, 1),
            _ => Case::threads(mode, threads, 10),
        };
        let beside = Beside {
            what: "calls".into(),
            figure: 10.0,
            ratio: Spread {
                low: ratio - 0.01,
                median: ratio,
                high: ratio + 0.01,
            },
        };
        let (what, figure) = (format!("{workload}, in words"), (10.0 * ratio, "ms"));
        let mut row = Row::new("", &what, figure, Some(beside), aim(workload, &case));
        row.overhead = Some(Overhead {
            workload: workload.into(),
            set,
            case,
            wall_ratio: ratio,
            samples: 25,
            preemptions: if threads > 0 { 100.0 } else { 0.0 },
            fuel: (mode == Mode::Fuel).then_some(1000),
        });
        row
    }

    pub fn of(row: &Row) -> &Overhead {
        row.overhead.as_ref().expect("it is of a workload")
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
        for known in &mut report.rows {
            let Overhead { workload, case, .. } = of(known);
            if (workload.as_str(), case.build, case.mode) == ("hash", Build::Ours, Mode::Epoch) {
                *known = row("hash", Build::Ours, Mode::Epoch, 0, 1.23);
            }
        }
        let beside = report.beside_stock(Mode::Epoch).expect("it is there");
        let hash = Slower {
            workload: "hash".into(),
            ours: 1.23,
            stock: 1.2,
        };
        assert_eq!(beside.slower, [hash]);
        report.rows.retain(|row| of(row).case.build == Build::Ours);
        assert!(report.beside_stock(Mode::Epoch).is_none());
    }

    #[test]
    fn docs_need_a_full_run_with_both_builds() {
        let mut report = sample();
        assert!(report.ensure_complete().is_ok());
        report.quick = true;
        assert!(report.ensure_complete().is_err());
        report.quick = false;
        report.rows.retain(|row| of(row).case.build == Build::Ours);
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
        assert!(row["beside"]["ratio"]["low"].is_f64() && row["count"].is_u64());
        let again: Report = serde_json::from_value(json)?;
        assert_eq!(again.rows.len(), sample().rows.len());
        Ok(())
    }
}
