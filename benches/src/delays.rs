//! How late preemptions are: from the end of a slice to the sibling's first instruction, by what
//! the guest does whose slice it is.
//!
//! ```text
//!  kinds.rs      guests, each of which does one thing without end
//!  late.rs       how late the sibling is      overshoot.rs  how much more fuel than a slice
//!       |
//!  doc.rs        docs/latency.md              picture.rs    docs/img/latency.svg
//! ```

mod doc;
mod kinds;
mod late;
mod overshoot;
mod picture;

use crate::distribution::{Distribution, Figures};
use crate::paper::machine::Machine;
use crate::report;
use clap::Parser;
use kinds::Kind;
use std::fs;
use std::path::PathBuf;
use wasmtime::error::Context as _;
use wasmtime::{Preemption, Result};

/// The command line.
#[derive(Debug, Parser)]
pub struct Args {
    /// Take 1,000 samples of each kind.
    #[arg(long)]
    quick: bool,

    /// How many samples of each kind to take: a million takes two minutes each.
    #[arg(long, default_value = "20000", conflicts_with = "quick")]
    samples: usize,

    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write latency.md and img/latency.svg to this folder.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,

    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,

    /// Measure only the kinds of code whose name has one of these in it.
    filter: Vec<String>,
}

/// What was measured of a kind of code.
struct Delays {
    kind: Kind,
    signals: Distribution,
    epochs: Distribution,
    /// In units of fuel, beyond a slice.
    fuel: Distribution,
}

/// Everything that was measured.
struct Report {
    machine: Machine,
    samples: usize,
    /// A timer's signal without a runtime, taken between the others.
    control: Distribution,
    delays: Vec<Delays>,
}

/// # Errors
///
/// If no kind of code has such a name.
pub fn run(args: &Args) -> Result<()> {
    let samples = if args.quick { 1_000 } else { args.samples };
    let mut control = Distribution::new("a timer's signal, to its handler")?;
    let mut delays = Vec::new();
    for kind in kinds::all() {
        let is_wanted = |filter: &String| kind.name.contains(filter.as_str());
        if !args.filter.is_empty() && !args.filter.iter().any(is_wanted) {
            continue;
        }
        eprintln!("{}", kind.name);
        delays.push(Delays {
            signals: late::measure(&kind, Preemption::Signal, samples, &mut control)?,
            epochs: late::measure(&kind, Preemption::Epoch, samples, &mut control)?,
            fuel: overshoot::measure(&kind, samples)?,
            kind,
        });
    }
    wasmtime::ensure!(
        !delays.is_empty(),
        "no kind of code has one of {:?} in its name; there are {:?}",
        args.filter,
        kinds::all().map(|kind| kind.name).collect::<Vec<_>>()
    );
    let report = Report {
        machine: Machine::this(),
        samples,
        control,
        delays,
    };
    println!("{}", doc::tables(&report));
    if let Some(folder) = &args.write {
        let page = folder.join("latency.md");
        fs::write(&page, doc::markdown(&report))
            .with_context(|| format!("cannot write {}", page.display()))?;
        picture::draw(&folder.join("img/latency.svg"), &report)?;
    }
    match &args.json {
        Some(path) => report::write_json(path, &report.figures()),
        None => Ok(()),
    }
}

impl Report {
    fn figures(&self) -> impl serde::Serialize + use<> {
        let kinds = self.delays.iter().map(|delays| {
            let all = [&delays.signals, &delays.epochs, &delays.fuel];
            (delays.kind.name, all.map(Distribution::figures))
        });
        let control = ("control", [self.control.figures(); 3]);
        kinds
            .chain([control])
            .collect::<Vec<(&str, [[Figures; 2]; 3])>>()
    }
}
