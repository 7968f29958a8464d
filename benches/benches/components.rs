//! Components as guest threads: a table with aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let rows = summary::components(args.quick)?;
    report::publish(&rows, args.json.as_deref())
}
