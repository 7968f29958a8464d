//! The `preempt` command: runs guests side by side in one Store, or serves HTTP with one.

mod args;
mod arguments;
mod chart;
mod codegen;
mod compile;
mod component;
mod console;
mod end;
mod exports;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod imports;
mod interleaving;
mod interrupt;
mod limits;
mod live;
mod load;
mod memory;
mod mode;
mod names;
mod outcome;
mod outline;
mod outputs;
mod picks;
mod plan;
mod policy;
mod prepare;
mod rates;
mod report;
mod run;
mod schedule;
mod search;
mod serve;
mod settings;
mod setup;
mod shared;
mod sources;
mod started;
mod table;
mod thread;
mod times;
mod until;
mod values;
mod wasi;

use args::{Cli, Command, RunArgs};
use clap::Parser;
use clap::error::ErrorKind;
use outputs::Outputs;
use prepare::Prepared;
use setup::Setup;
use std::io::{self, Write};
use std::process::ExitCode;

/// Bad usage, or a guest that cannot be run.
const BAD_USAGE: u8 = 2;

/// Runs this process's command line, and returns its exit status.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(Cli { command }) => match command {
            Command::Run(args) => run(*args),
            Command::Serve(args) => serve::run(&args).map(|()| 0),
            Command::Compile(args) => compile::run(&args).map(|()| 0),
        },
        Err(error) => return usage(&error),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // If stderr is closed, nobody wants to know.
            let error = names::text(&format!("{error:#}"));
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Prints clap's message: help, or what is wrong with the arguments. On a terminal,
/// arguments are shown as they are.
fn usage(error: &clap::Error) -> ExitCode {
    let mut args = std::env::args_os();
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(arg) = args.find(|arg| arg.to_str().is_none())
    {
        let _ = writeln!(
            io::stderr(),
            "error: the argument {arg:?} is not valid UTF-8; rename the file that it names"
        );
        return ExitCode::from(BAD_USAGE);
    }
    let _ = match args.all(|arg| names::name(&arg.to_string_lossy()) == arg.to_string_lossy()) {
        true => error.print(),
        false => {
            let plain = names::text(&error.render().to_string());
            io::stderr().write_all(plain.as_bytes())
        }
    };
    ExitCode::from(error.exit_code() as u8)
}

/// Returns the status of the command.
fn run(mut args: RunArgs) -> wasmtime::Result<u8> {
    arguments::split_off(&mut args)?;
    let setup = Setup::of(&args)?;
    if let Some(seeds) = setup.seeds.clone() {
        return search::run(&setup, seeds);
    }
    let prepared = Prepared::of(&setup, args.schedule.seed)?;
    // Before any guest has run for nothing.
    let outputs = Outputs::create(&args.outputs, &setup.inputs())?;
    let ran = prepared.start()?.run();
    end::end(&args.outputs, ran, outputs, &setup.interrupt)
}
