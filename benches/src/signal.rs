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
//!  ../distribution.rs  histograms  render.rs  printed and drawn
//! ```

use crate::report;
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wasmtime::Result;
use wasmtime::error::Context as _;

pub(crate) mod bare;
mod render;
mod runtime_timer;
mod slices;
mod spinner;
mod switch;
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
/// say, and `paper` is `bench-paper`.
pub fn run(args: &Args, pictures: &Path, paper: &Path) -> Result<()> {
    let pictures = args.svg.as_deref().unwrap_or(pictures);
    fs::create_dir_all(pictures)
        .with_context(|| format!("cannot make the directory {}", pictures.display()))?;
    let mut json = serde_json::Map::new();

    if args.wants("workloads") {
        let rows = workloads::measure(paper, args.quick)?;
        println!("{}\n", workloads::table(&rows));
        json.insert("workloads".into(), serde_json::to_value(&rows)?);
    }
    if args.wants("switch") {
        let switch = switch::measure(if args.quick { 2_000 } else { 20_000 })?;
        println!("{}", render::switch(&switch));
        json.insert("switch".into(), serde_json::to_value(switch.figures())?);
        render::draw_switch(&pictures.join("switch.svg"), &switch)?;
    }
    if args.wants("slices") {
        let slices = slices::measure(Duration::from_secs(if args.quick { 2 } else { 20 }))?;
        println!("{}", render::slices(&slices));
        let figures: Vec<_> = slices.iter().map(slices::Slices::figures).collect();
        json.insert("slices".into(), serde_json::to_value(figures)?);
        render::draw_slices(&pictures.join("slices.svg"), &slices)?;
    }
    match &args.json {
        Some(path) => report::write_json(path, &json),
        None => Ok(()),
    }
}
