//! `cargo xtask paper`: what the paper's prototype measured, here and in stock
//! Wasmtime, and a broader set of workloads.
//!
//! ```text
//!  paper.rs     what to measure; overhead.rs measures it
//!    |
//!  report.rs    figures, aims, JSON                      machine.rs
//!    |
//!  table.rs     Markdown tables      picture.rs  SVG     doc.rs  docs/paper.md
//! ```

use crate::beside_stock;
use crate::overhead::case::{Build, Case, Set};
use crate::overhead::turns::{self, Chain, Plan};
use crate::overhead::{self, ours};
use crate::served::Mode;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Preemption, Result};

mod doc;
pub(crate) mod machine;
mod picture;
mod report;
mod table;

use self::machine::Machine;
use self::report::Report;

/// Measure the paper's workloads and a broader set: uninstrumented, under fuel, epochs
/// and signals, beside stock Wasmtime. Writes docs/paper.md and docs/img/paper.svg.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask paper")]
pub struct Args {
    /// Measure for less than a minute, and only print.
    #[arg(long)]
    quick: bool,

    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    json: Option<PathBuf>,

    /// Measure this set of workloads only, and only print.
    #[arg(long)]
    only: Option<Set>,

    /// Measure this workload only, and only print.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,

    /// Leave out stock Wasmtime, which takes some minutes to compile the first time,
    /// and only print.
    #[arg(long)]
    no_stock: bool,

    /// Only print.
    #[arg(long)]
    no_docs: bool,

    /// Do not measure: take the figures from what `--json` has written.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "workload", "no_stock"])]
    from: Option<PathBuf>,

    /// Measure what is asked for by lines of standard input.
    #[arg(long, hide = true)]
    serve: bool,

    /// With which layout of the guests' code.
    #[arg(long, hide = true, requires = "serve", default_value_t = 0)]
    layout: u32,
}

fn plan(quick: bool) -> Plan {
    let threads: &[usize] = if quick { &[1, 2] } else { &[1, 2, 4] };
    Plan {
        layouts: if quick { 2 } else { 8 },
        rounds: if quick { (1, 1) } else { (2, 3) },
        budget: Duration::from_millis(if quick { 700 } else { 6_000 }),
        sample: Duration::from_millis(if quick { 22 } else { 25 }),
        paper: chains(threads),
        broad: chains(&[2]),
        aim: report::aim,
    }
}

/// Calls with checks that never fire, in both builds, and guest threads that are preempted.
fn chains(threads: &[usize]) -> Vec<Chain> {
    let calls = [Build::Stock, Build::Ours].map(|build| Chain {
        cases: vec![
            Case::calls(build, Mode::Fuel, 1),
            Case::calls(build, Mode::Epoch, 1),
        ],
        every: 1,
    });
    let mut modes = vec![Mode::Fuel, Mode::Epoch];
    if Preemption::for_this_host() == Preemption::Signal {
        modes.push(Mode::Signal);
    }
    let threads = threads.iter().map(|count| Chain {
        cases: modes
            .iter()
            .map(|mode| Case::threads(*mode, *count, 10))
            .collect(),
        // They take long, and there are many of them.
        every: 2,
    });
    calls.into_iter().chain(threads).collect()
}

/// Measures and prints. `root` is where docs/ is, and `this` is the program that calls
/// this function.
pub fn run(args: &Args, this: &Path, root: &Path) -> Result<()> {
    if args.serve {
        return ours::run(args.layout);
    }
    let report = match &args.from {
        Some(path) => Report::read(path)?,
        None => measure(args, this)?,
    };
    println!("{}", table::text(&report));
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    let part = args.quick || args.only.is_some() || args.workload.is_some() || args.no_stock;
    if !(part || args.no_docs) {
        report.ensure_complete()?;
        publish(&report, root)?;
    }
    Ok(())
}

fn measure(args: &Args, this: &Path) -> Result<Report> {
    let workloads = turns::select(args.only, args.workload.as_deref())?;
    let stock = (!args.no_stock).then(|| {
        beside_stock::build(this, "stock-workloads")
            .context("there is no stock Wasmtime to measure; `--no-stock` leaves it out")
    });
    let programs = overhead::programs(this, stock.transpose()?);
    let plan = plan(args.quick);
    let progress = ProgressBar::new(turns::steps(workloads.len(), &plan));
    progress.set_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {elapsed} passed, {eta} to go: {msg}",
    )?);
    let rows = turns::measure(&workloads, &programs, &plan, &progress);
    progress.finish_and_clear();
    Ok(Report {
        machine: Machine::this(),
        quick: args.quick,
        rows: rows?,
    })
}

/// Writes docs/paper.md and its picture.
fn publish(report: &Report, root: &Path) -> Result<()> {
    let (text, pictures) = (root.join("docs/paper.md"), root.join("docs/img"));
    fs::create_dir_all(&pictures)
        .with_context(|| format!("cannot make the directory {}", pictures.display()))?;
    picture::draw(&pictures.join("paper.svg"), report)?;
    fs::write(&text, doc::markdown(report))
        .with_context(|| format!("cannot write {}", text.display()))?;
    eprintln!("docs/paper.md and docs/img/paper.svg are written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn xtask_tells_of_each_option() {
        let xtask = include_str!("../../xtask/src/tasks.rs");
        let command = Args::command();
        for argument in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let name = argument.get_long().expect("all arguments are options");
            assert!(xtask.contains(&format!("--{name} ")), "--{name}");
        }
    }

    #[test]
    fn figures_that_were_read_cannot_be_measured_again() {
        assert!(Args::try_parse_from(["paper", "--from", "x", "--quick"]).is_err());
        assert!(Args::try_parse_from(["paper", "--quick", "--only", "broad"]).is_ok());
    }

    #[test]
    fn page_and_picture_are_written_from_a_report() -> Result<()> {
        let root = std::env::temp_dir().join(format!("preempt-paper-{}", std::process::id()));
        fs::create_dir_all(&root)?;
        let json = root.join("figures.json");
        report::tests::sample().write(&json)?;
        let args = Args::try_parse_from(["paper".as_ref(), "--from".as_ref(), json.as_os_str()])?;
        run(&args, Path::new("nowhere"), &root)?;
        let page = fs::read_to_string(root.join("docs/paper.md"))?;
        let written = root.join("docs/img/paper.svg").is_file();
        fs::remove_dir_all(&root)?;
        assert!(page.contains("## A broader set") && written);
        Ok(())
    }
}
