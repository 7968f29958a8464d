//! The command line.

use crate::codegen::CodegenArgs;
use crate::compile::CompileArgs;
use crate::limits::LimitArgs;
use crate::mode::SliceArgs;
use crate::outputs::OutputArgs;
use crate::schedule::ScheduleArgs;
use crate::serve::ServeArgs;
use crate::times;
use crate::until::UntilArgs;
use crate::wasi::WasiArgs;
use clap::{Args, Parser, Subcommand};
use std::time::Duration;
use wasmtime::Result;

#[derive(Parser)]
#[command(name = "preempt", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Serve(Box<ServeArgs>),
    Compile(CompileArgs),
}

/// Run guests side by side in one Store, each as a preemptible thread
///
/// Each GUEST gets its own instance and its own thread. A thread runs until its slice is
/// used up, and then it is another guest's turn. No guest has to yield. Guests may start
/// threads of their own, which take turns with all the others.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub struct RunArgs {
    #[command(flatten)]
    pub slice: SliceArgs,

    /// Stop the guests that have not finished after this time
    ///
    /// By default, the run lasts until all guests have finished. Start functions are part of
    /// it. A guest may run over: in a host function, it is stopped when the function
    /// returns; in a single instruction that fills or copies gigabytes of memory, when the
    /// instruction is done; under --preemption fuel, at the end of its slice. If the output
    /// goes to a reader that has stopped reading, the command waits for another two seconds.
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = run_time,
        allow_hyphen_values = true
    )]
    pub time: Option<Duration>,

    #[command(flatten)]
    pub until: UntilArgs,

    #[command(flatten)]
    pub wasi: WasiArgs,

    // Before the options with a heading, which applies to everything after it.
    /// FILE[:EXPORT][(ARG,...)], for example 'fib.wat:fib(30)'
    #[arg(value_name = "GUEST", required = true)]
    pub guests: Vec<String>,

    /// Arguments of a single guest
    #[arg(value_name = "ARG", last = true)]
    pub args: Vec<String>,

    #[command(flatten)]
    pub schedule: ScheduleArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub codegen: CodegenArgs,

    #[command(flatten)]
    pub outputs: OutputArgs,
}

const AFTER_HELP: &str = "\
Guests:
  spin.wat                  A module, text or binary. Runs `_start` if it is
                            exported, else the only function that is
  spin.wat:run              Runs the export `run`
  'fib.wat:fib(30)'         Passes arguments of the types that the function takes:
                            i32 and i64 in decimal or hex, f32 and f64
  'primes.wasm(5000, a b)'  A WASI preview 1 command: the arguments are strings,
                            and follow the file's name in `argv`
  'app.wasm(5000, a b)'     A component that exports `wasi:cli/run` of WASI 0.2: the same
  'app.wasm:greet(\"Ada\")'   Another function that a component exports. Arguments and
                            results are in WAVE, as for `wasmtime run --invoke`
  'app.wasm:ns:pkg/iface.ping@1.0.0(7)'
                            A function of an interface that a component exports. If there
                            is only one `ping`, that is enough, as is the only function

  A single guest's arguments may also follow its name: `primes.wasm 5000 'a b'`. Then
  none of them may be the name of a file, which would be another guest, or begin with a
  `-`. After a `--` they may be anything: `primes.wasm -- -v file.txt`.

  The quotes keep the shell from interpreting the parentheses. Spaces around an
  argument are dropped. A `\\` escapes the character after it, in EXPORT and in
  arguments: `(one\\, two)`, `min\\(int)`. In WAVE it does so in strings only.

  WASI guests get only the directories of --dir, and no network: components can get one
  with --inherit-network. What guests print comes out in whole lines. A guest that
  sleeps, waits for input, or waits for its output to be read does not hold up the
  others. Modules that cooperate can import `preempt`: yield(), sleep(i64 nanoseconds),
  current() -> i64, join(i64 thread).

  A WASI command that imports `wasi.thread-spawn` (clang's wasm32-wasip1-threads)
  is a process: its threads share its memory and end with it, when `_start` returns,
  or when one of them traps, exits or exceeds a limit. Its limits are for all of its
  threads together; a weight or a priority applies to each of them.

Exit status:
  0  all guests returned, apart from those ended for --until; with --search, in
     every run
  1  a guest trapped, exited with a status other than 0, exceeded a limit, or was
     stopped: by --for, by Ctrl-C or SIGTERM, because guests wait for each other, or
     because it printed to a stdout that is closed. The report and all files are
     still written; a second Ctrl-C ends the command at once, with 130
  2  bad usage, or a guest that cannot be run

  A single GUEST, without --search, gives the command its own status, as with
  `wasmtime run`: what it exits with (the lowest byte of that, or 1 if that is 0),
  or 134 if it traps.";

fn run_time(text: &str) -> Result<Duration> {
    times::parse_or_say(text, "no guest would run", "2s or 500ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
