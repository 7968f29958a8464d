//! Builds, runs and tests upstream's `wasmtime` command with the fork: the workspace in
//! wasmtime-cli/.

use crate::pin::Pin;
use crate::root::{Root, cargo, run as run_command};
use crate::{program, vendor};
use anyhow::Result;
use std::process::Command;

pub fn run(root: &Root, release: bool, args: &[String]) -> Result<()> {
    let mut build = workspace(root, "build")?;
    if release {
        build.arg("--release");
    }
    program::become_it(program::build(&mut build, "wasmtime")?.args(args))
}

pub fn test(root: &Root, filter: Option<&str>) -> Result<()> {
    let mut test = workspace(root, "test")?;
    run_command(test.args(filter), "`cargo test` of wasmtime-cli")
}

/// A cargo command in that workspace.
fn workspace(root: &Root, subcommand: &str) -> Result<Command> {
    vendor::ensure(root)?;
    let dir = root.target()?.join("wasmtime-cli");
    if !dir.is_dir() {
        eprintln!(
            "wasmtime: the first build compiles Wasmtime and its command, 10 to 20 minutes on two \
             cores; later ones take seconds"
        );
    }
    let version = format!("{} (wasmtime-preempt)", Pin::read(root)?.version);
    let mut cargo = cargo(&root.path);
    cargo
        .args([subcommand, "--locked", "--manifest-path"])
        .arg(root.wasmtime_cli().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(dir)
        // What upstream's `--version` prints.
        .env("WASMTIME_VERSION_INFO", version);
    Ok(cargo)
}
