//! Memory per suspended thread, and the time to end them.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};
use std::path::Path;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let rows = summary::memory(Path::new(env!("CARGO_BIN_EXE_bench-memory")), args.quick)?;
    report::publish(&rows, args.json.as_deref())
}
