//! Calls of the host by guest threads, and stores of large modules: a table with aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let rows = summary::host_calls(args.quick)?;
    report::publish(&rows, args.json.as_deref())
}
