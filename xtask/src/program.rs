//! A program that cargo builds, to be run in place of this process.

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

/// Runs `cargo`, a build, and returns the command `name` that it has built.
pub fn build(cargo: &mut Command, name: &str) -> Result<Command> {
    let mut cargo = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = cargo.stdout.take().context("cargo has no output")?;
    let mut program = None;
    for line in BufReader::new(stdout).lines() {
        // Other lines are messages of other kinds.
        if let Ok(artifact) = serde_json::from_str::<Artifact>(&line?)
            && artifact.target.name == name
            && artifact.target.kind == ["bin"]
        {
            program = artifact.executable;
        }
    }
    let status = cargo.wait()?;
    if !status.success() {
        bail!("the build of `{name}` failed ({status})");
    }
    let program =
        program.with_context(|| format!("cargo built `{name}`, but does not say where it is"))?;
    Ok(Command::new(program))
}

/// Runs the command in the directory in which this process was started. It takes the place of
/// this process, so that its exit status, which tells what became of the guests, and signals
/// are its own.
#[cfg(unix)]
pub fn become_it(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {:?}", command.get_program()))
}

/// Runs the command in the directory in which this process was started. Ends this process
/// with the command's exit status, which tells what became of the guests.
#[cfg(not(unix))]
pub fn become_it(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
