//! Everything in one table, with the aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};
use std::path::Path;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let memory = Path::new(env!("CARGO_BIN_EXE_bench-memory"));
    let unthreaded = Path::new(env!("CARGO_BIN_EXE_bench-unthreaded"));
    let mut rows = summary::dispatch(unthreaded, args.quick)?;
    rows.extend(summary::spawn(args.quick)?);
    rows.extend(summary::memory(memory, args.quick)?);
    rows.extend(summary::unthreaded(unthreaded, args.quick)?);
    report::publish(&rows, args.json.as_deref())
}
