//! `Preemption::Signal`: what it costs to be preempted, how long one switch takes,
//! and how punctual slices end.
//!
//! ```text
//!  workloads.rs   the paper's guests, beside calls that nothing interrupts
//!  switch.rs      from the end of a slice to the sibling's first instruction
//!  slices.rs      how long slices really are
//!       |
//!  spinner.rs     guests that say when they get the CPU
//!  runtime_timer.rs  when the timer will expire
//!  bare.rs        what a timer and a signal take without a runtime
//!       |
//!  distribution.rs  histograms     picture.rs  drawn     table.rs  Markdown
//! ```

use crate::os;
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wasmtime::Result;
use wasmtime::error::Context as _;

mod bare;
mod distribution;
mod picture;
mod runtime_timer;
mod slices;
mod spinner;
mod switch;
mod table;
mod workloads;

/// The command line.
#[derive(Debug, Parser)]
pub struct Args {
    /// Measure for less than a minute.
    #[arg(long)]
    pub quick: bool,

    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Where to put the pictures, switch.svg and slices.svg.
    #[arg(long, value_name = "DIRECTORY")]
    pub svg: Option<PathBuf>,

    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,

    /// Measure only those of `workloads`, `switch` and `slices` whose name has one
    /// of these in it.
    filter: Vec<String>,
}

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|filter| part.contains(filter))
    }
}

/// Measures and prints. `pictures` is where they go if the command line does not
/// say.
pub fn run(args: &Args, pictures: &Path) -> Result<()> {
    let pictures = args.svg.as_deref().unwrap_or(pictures);
    fs::create_dir_all(pictures)
        .with_context(|| format!("cannot make the directory {}", pictures.display()))?;
    let mut json = serde_json::Map::new();

    if args.wants("workloads") {
        let mut rows = Vec::new();
        for workload in &crate::workloads::PAPER {
            rows.extend(workloads::measure(workload, &effort(args.quick))?);
        }
        println!("{}\n", table::workloads(&rows));
        json.insert("workloads".into(), serde_json::to_value(&rows)?);
    }
    if args.wants("switch") {
        let switch = switch::measure(if args.quick { 2_000 } else { 20_000 })?;
        println!("{}", table::switch(&switch));
        json.insert("switch".into(), serde_json::to_value(switch.figures())?);
        picture::switch(&pictures.join("switch.svg"), &switch)?;
    }
    if args.wants("slices") {
        let slices = slices::measure(Duration::from_secs(if args.quick { 2 } else { 20 }))?;
        println!("{}", table::slices(&slices));
        let figures: Vec<_> = slices.iter().map(slices::Slices::figures).collect();
        json.insert("slices".into(), serde_json::to_value(figures)?);
        picture::slices(&pictures.join("slices.svg"), &slices)?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn effort(quick: bool) -> workloads::Effort {
    workloads::Effort {
        layouts: if quick { 1 } else { 3 },
        rounds: if quick { 3 } else { 7 },
        sample: Duration::from_millis(if quick { 100 } else { 200 }),
        quick,
    }
}

/// How often the OS has taken the core away from the calling OS thread.
fn taken_off_core() -> Result<i64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("cannot ask what this thread uses")?;
    Ok(usage.involuntary_context_switches())
}

/// What something took on both clocks.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// Of this OS thread.
    cpu: Duration,
    wall: Duration,
}

fn timed<R>(run: impl FnOnce() -> Result<R>) -> Result<(Took, R)> {
    let start = std::time::Instant::now();
    let (cpu, result) = os::timed(run)?;
    let wall = start.elapsed();
    Ok((Took { cpu, wall }, result))
}
