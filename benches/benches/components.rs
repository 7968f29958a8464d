//! Components as guest threads: a table with aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};
use std::path::Path;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let mut rows = summary::components(args.quick)?;
    let exe = Path::new(env!("CARGO_BIN_EXE_bench-memory"));
    rows.extend(summary::suspended_components(exe, args.quick)?);
    report::publish(&rows, args.json.as_deref())
}
