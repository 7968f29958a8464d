//! Builds and runs the `preempt` command.

use crate::program;
use crate::root::Root;
use crate::tasks::{self, Profile};
use anyhow::Result;
use std::process::Command;

/// Builds the command, and returns it.
///
/// `cargo run --package preempt-cli` would compile Wasmtime once more than the tests do:
/// cargo gives a dependency the features that the selected packages ask for, and
/// dev-dependencies count only if a test is selected. So this selects all packages, and a
/// test that takes a second to compile.
pub fn build(root: &Root) -> Result<Command> {
    let mut cargo = tasks::build(root, Profile::Debug)?;
    cargo.args(["build", "--workspace", "--bin", "preempt"]);
    program::build(cargo.args(["--test", "usage"]), "preempt")
}

pub fn run(root: &Root, args: &[String]) -> Result<()> {
    program::become_it(build(root)?.args(args))
}
