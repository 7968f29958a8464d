//! The `preempt` command: runs guests side by side in one Store.

mod args;
mod console;
mod guest;
mod interleaving;
mod live;
mod load;
mod mode;
mod outcome;
mod report;
mod run;
mod stoppable;
mod values;
mod wasi;

use args::{Cli, Command, RunArgs};
use clap::Parser;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use wasmtime::error::Context as _;

/// Bad usage, or a guest that cannot be run.
const BAD_USAGE: u8 = 2;

/// Runs the command line of this process, and gives its exit status.
pub fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Returns whether all guests returned.
fn run(args: &RunArgs) -> wasmtime::Result<bool> {
    let prepared = run::prepare(args)?;
    // Before a guest has run in vain.
    let file = args.json_file.as_deref().map(create).transpose()?;
    let report = prepared.run()?;
    if let Some(file) = file {
        report.write_json(file)?;
    }
    report.print(args.json)?;
    Ok(report.all_returned())
}

fn create(path: &Path) -> wasmtime::Result<File> {
    File::create(path).with_context(|| format!("--json-file: cannot write {}", path.display()))
}
