//! A store without guest threads, beside one of stock Wasmtime.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};
use std::path::Path;

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let rows = summary::unthreaded(
        Path::new(env!("CARGO_BIN_EXE_bench-unthreaded")),
        args.quick,
    )?;
    report::publish(&rows, args.json.as_deref())
}
