//! The command line.

use crate::limits::LimitArgs;
use crate::mode::Mode;
use crate::outputs::OutputArgs;
use crate::schedule::ScheduleArgs;
use crate::times;
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
    Run(RunArgs),
}

/// Run guests side by side in one Store, each as a preempted thread
///
/// Each GUEST gets an instance of its own, and a thread which runs until its
/// slice is used up; then it is the turn of the next one. No guest has to
/// yield. Guests may start threads of their own, which take turns with all
/// others.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub struct RunArgs {
    /// What ends a slice: a timer (signal, epoch), or a count of executed
    /// instructions (fuel)
    ///
    /// The default is signal where that works, and epoch elsewhere.
    #[arg(long, value_enum, default_value_t = Mode::for_this_host())]
    pub preemption: Mode,

    /// How long a guest may run before it is the next one's turn: a duration
    /// such as 10ms (signal: from 50us on; epoch), or a number of fuel units
    /// such as 100000 (fuel)
    ///
    /// Without it, 10ms or 10000000 units.
    #[arg(long, value_name = "10ms|100000")]
    pub slice: Option<String>,

    /// Stop the guests which have not finished after this time
    ///
    /// Without it, run until all have finished. The time starts after the
    /// modules' start functions. It may be exceeded by a guest that is in a host
    /// function, until that returns, and under --preemption fuel by one slice.
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = run_time,
        allow_hyphen_values = true
    )]
    pub time: Option<Duration>,

    /// Show how the guests interleaved: each one's share of the CPU time in
    /// each STEP of the run, 10ms by default
    ///
    /// The end of a step ends the running guest's slice.
    #[arg(
        long,
        value_name = "STEP",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10ms",
        value_parser = run_time
    )]
    pub interleaving: Option<Duration>,

    /// Set a variable in the environment of a guest, or of all WASI guests
    ///
    /// They do not see the environment of this process.
    #[arg(long, value_name = "[GUEST=]KEY=VALUE")]
    pub env: Vec<String>,

    /// Give a guest, or each WASI guest, a file as standard input
    ///
    /// Without it they share the standard input of this process.
    #[arg(long, value_name = "[GUEST=]FILE")]
    pub stdin: Vec<String>,

    // Before the others: a heading holds for all that follows.
    /// FILE[:EXPORT][(ARG,...)], for example 'fib.wat:fib(30)'
    #[arg(value_name = "GUEST", required = true)]
    pub guests: Vec<String>,

    #[command(flatten)]
    pub schedule: ScheduleArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub outputs: OutputArgs,
}

const AFTER_HELP: &str = "\
Guests:
  spin.wat                  A module, text or binary. Runs `_start` if it is
                            exported, else the only function that is
  spin.wat:run              Runs the export `run`
  'fib.wat:fib(30)'         Passes arguments, by the types of the function:
                            i32 and i64 in decimal or hex, f32 and f64
  'primes.wasm(5000, a b)'  A WASI preview 1 command: the arguments are strings,
                            and follow the file's name in `argv`

  The quotes keep a shell from the parentheses. Space around an argument does not
  count. In EXPORT and in arguments, `\\` takes the next character as it is:
  `(one\\, two)`, `min\\(int)`.
  WASI guests get no folders and no network. What guests print comes out in
  whole lines. One that sleeps or waits for input stops no other. Guests that
  know of each other can import `preempt`: yield(), sleep(i64 nanoseconds),
  current() -> i64, join(i64 thread).

  A WASI command that imports `wasi.thread-spawn` (clang's wasm32-wasip1-threads)
  is a process: all its threads share its memory, and end with it. That is when
  `_start` returns, or one of them traps, exits or goes over a limit. Limits are
  for all of them together; a weight or a priority is that of each one.

Exit status:
  0  all guests returned, with --search in each run
  1  a guest trapped, exited with another status than 0, went over a limit, or
     was stopped: by --for, by Ctrl-C, or as guests wait for each other. Then the
     report and all files are written; a second Ctrl-C ends the command at once,
     with 130
  2  bad usage, or a guest that cannot be run";

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
