//! Builds and runs the `preempt` command.

use crate::root::Root;
use crate::tasks::{self, Profile};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A message from cargo about something it has built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the command, and returns it.
///
/// `cargo run --package preempt-cli` would compile Wasmtime once more than the tests do:
/// cargo gives a dependency the features that the selected packages ask for, and
/// dev-dependencies count only if a test is selected. So this selects all packages, and a
/// test that takes a second to compile.
pub fn build(root: &Root) -> Result<Command> {
    let mut cargo = tasks::build(root, Profile::Debug)?
        .args([
            "build",
            "--workspace",
            "--bin",
            "preempt",
            "--test",
            "usage",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = cargo.stdout.take().context("cargo has no output")?;
    let mut preempt = None;
    for line in BufReader::new(stdout).lines() {
        // Other lines are messages of other kinds.
        if let Ok(artifact) = serde_json::from_str::<Artifact>(&line?)
            && artifact.target.name == "preempt"
            && artifact.target.kind == ["bin"]
        {
            preempt = artifact.executable;
        }
    }
    let status = cargo.wait()?;
    if !status.success() {
        bail!("the build of `preempt` failed ({status})");
    }
    let preempt = preempt.context("cargo built `preempt`, but does not say where it is")?;
    Ok(Command::new(preempt))
}

/// Runs the command in the directory in which this process was started. Ends this process
/// with the command's exit status, which tells what became of the guests.
pub fn run(root: &Root, args: &[String]) -> Result<()> {
    let status = build(root)?.args(args).status()?;
    match status.code() {
        Some(code) => std::process::exit(code),
        None => bail!("`preempt` did not exit by itself ({status})"),
    }
}
