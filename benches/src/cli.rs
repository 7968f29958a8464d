//! The command line of the benchmarks that are not criterion's.

use clap::Parser;
use std::path::PathBuf;

#[derive(Debug, Parser)]
pub struct Args {
    /// Measure for a shorter time.
    #[arg(long)]
    pub quick: bool,

    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,

    /// Names of criterion's benchmarks.
    #[arg(hide = true)]
    filter: Vec<String>,
}
