//! The commands that build and run something.

use crate::root::{Root, cargo, run as run_command};
use crate::{patches, vendor};
use anyhow::Result;
use std::process::Command;

pub fn test(root: &Root, full: bool, filter: Option<&str>) -> Result<()> {
    let mut workspace = build(root)?;
    // Lets tests/docs.rs be strict with the commands that it runs.
    workspace.env("XTASK_TEST", "1");
    workspace.args(["test", "--workspace"]).args(filter);
    // Many tests are about time, and those of epochs need a second OS thread to get
    // the CPU when it wants it.
    workspace.env("RUST_TEST_THREADS", "1");
    if full {
        // With what they print: how much a soak has done.
        workspace.args(["--", "--include-ignored", "--show-output"]);
    }
    run_command(&mut workspace, "`cargo test --workspace`")?;

    eprintln!("test: xtask");
    let mut xtask = cargo(&root.path);
    xtask
        .arg("test")
        .arg("--manifest-path")
        .arg(root.xtask_manifest())
        .args(filter);
    run_command(&mut xtask, "`cargo test` of xtask")?;

    eprintln!("test: patches");
    patches::check(root)
}

pub fn bench(root: &Root, args: &[String]) -> Result<()> {
    let mut bench = build(root)?;
    bench
        .args(["bench", "--package", "preempt-benches"])
        .args(args);
    run_command(&mut bench, "`cargo bench`")
}

/// What `bench-paper` takes.
pub const PAPER_HELP: &str = "\
Measuring:
  --quick               Measure for less than a minute, and only print
  --only paper|broad    Measure this set of workloads only, and only print
  --workload NAME       Measure this workload only, and only print
  --no-stock            Leave out stock Wasmtime, which takes some minutes to compile
                        the first time, and only print
  --json FILE           Also write the figures to this file

Writing:
  --no-docs             Only print
  --from FILE           Do not measure: take the figures from what --json has written";

/// Runs in the directory that this process was started in: files are relative to it.
pub fn paper(root: &Root, args: &[String]) -> Result<()> {
    let mut paper = build(root)?;
    paper
        .current_dir(std::env::current_dir()?)
        .args(["run", "--release", "--package", "preempt-benches"])
        .args(["--bin", "bench-paper", "--manifest-path"])
        .arg(root.path.join("Cargo.toml"))
        .arg("--")
        .args(args);
    run_command(&mut paper, "the measurement")
}

/// A cargo command at the root of the repository, with vendor/wasmtime there.
pub fn build(root: &Root) -> Result<Command> {
    vendor::ensure(root)?;
    if !root.target().join("debug/.fingerprint").is_dir()
        && !root.target().join("release/.fingerprint").is_dir()
    {
        eprintln!(
            "build: the first one compiles Wasmtime, 5 to 15 minutes on two cores; \
             later ones take seconds"
        );
    }
    Ok(cargo(&root.path))
}
