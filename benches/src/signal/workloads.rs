//! The paper's three workloads: two guest threads that are preempted, beside two
//! calls that nothing interrupts.
//!
//! The first line of each is calls too, of instances that signals could interrupt: what other
//! instances alone make of a difference.

use crate::overhead;
use crate::overhead::case::{Build, Case, Overhead, Set};
use crate::overhead::turns::{self, Chain, Plan};
use crate::report::Row;
use crate::served::Mode;
use crate::table::{Table, or_empty, verdict};
use indicatif::ProgressBar;
use std::path::Path;
use std::time::Duration;
use wasmtime::Result;

/// `paper` is `bench-paper`.
pub fn measure(paper: &Path, quick: bool) -> Result<Vec<Row>> {
    let mut cases = vec![
        Case::calls(Build::Ours, Mode::Signal, 2),
        Case::threads(Mode::Signal, 2, 10),
        Case::threads(Mode::Signal, 2, 1),
        Case::threads(Mode::Epoch, 2, 10),
        Case::threads(Mode::Epoch, 2, 1),
        Case::threads(Mode::Fuel, 2, 10),
        Case::threads(Mode::Fuel, 2, 1),
    ];
    if quick {
        let short = Case::threads(Mode::Signal, 2, 1).slice;
        cases.retain(|case| case.mode == Mode::Signal || case.slice != short);
    }
    let rounds = if quick { 3 } else { 7 };
    let plan = Plan {
        layouts: if quick { 1 } else { 3 },
        rounds: (rounds, rounds),
        budget: Duration::MAX,
        sample: Duration::from_millis(if quick { 50 } else { 100 }),
        paper: vec![Chain { cases, every: 1 }],
        broad: Vec::new(),
        aim: |_, case| match (case.mode, case.slice) {
            (Mode::Signal, Some(10_000_000)) => Some(1.01),
            (Mode::Signal, Some(1_000_000)) => Some(1.03),
            _ => None,
        },
    };
    let workloads = turns::select(Some(Set::Paper), None)?;
    let programs = overhead::programs(paper, None);
    turns::measure(&workloads, &programs, &plan, &ProgressBar::hidden())
}

pub fn table(rows: &[Row]) -> String {
    let header = [
        "workload",
        "two guests",
        "CPU time",
        "ratio",
        "quartiles",
        "of elapsed time",
        "samples",
        "preemptions",
        "aim",
        "",
    ];
    let mut table = Table::new(header, 1, &[0]);
    for row in rows {
        let (Some(beside), Some(overhead)) = (&row.beside, &row.overhead) else {
            continue;
        };
        let ratio = beside.ratio;
        table.add([
            row.what.clone(),
            name(overhead),
            format!("{:.1} {}", row.figure, row.unit),
            format!("{:.4}", ratio.median),
            format!("{:.4} to {:.4}", ratio.low, ratio.high),
            format!("{:.4}", overhead.wall_ratio),
            overhead.samples.to_string(),
            format!("{:.0}/s", overhead.preemptions),
            or_empty(row.aim, |aim| aim.to_string()),
            or_empty(row.met, verdict),
        ]);
    }
    table.to_string()
}

fn name(overhead: &Overhead) -> String {
    let Case { mode, slice, .. } = overhead.case;
    match slice {
        None => "called, other instances".into(),
        Some(slice) => {
            let unit = if mode == Mode::Fuel { "million" } else { "ms" };
            format!("{mode}, {} {unit}", slice / 1_000_000)
        }
    }
}
