//! Epochs delivered by signals, beside checks and beside no interruption: a table with aims.

use clap::Parser;
use preempt_benches::{cli::Args, report, summary};

fn main() -> wasmtime::Result<()> {
    let args = Args::parse();
    let rows = summary::epochs(args.quick)?;
    report::publish(&rows, args.json.as_deref())
}
