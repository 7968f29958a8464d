//! `cargo xtask paper`, and the server of the patched Wasmtime that it starts.

use clap::Parser;
use preempt_benches::paper::{Args, run};
use std::path::Path;
use std::process::ExitCode;
use wasmtime::error::Context as _;
use wasmtime::{Result, format_err};

fn main() -> ExitCode {
    match paper(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn paper(args: &Args) -> Result<()> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.ok_or_else(|| format_err!("benches/ is not in a repository"))?;
    run(args, &this, root)
}
