//! Waiting, runs as futures, and what a request waits beside them: a table with aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let mut rows = summary::waiting(args.quick)?;
    rows.extend(summary::latency(args.quick)?);
    report::publish(&rows, args.json.as_deref())
}
