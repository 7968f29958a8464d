//! Runs the WebAssembly specification's tests: see tests/conformance.rs.

use crate::root::{Root, run as run_command};
use crate::tasks::{self, Profile};
use anyhow::Result;

pub fn run(root: &Root, full: bool, name: Option<&str>) -> Result<()> {
    let mut cargo = tasks::build(root, Profile::Debug)?;
    // As `test` compiles them, or Wasmtime would be compiled once more.
    cargo.args(["test", "--workspace", "--quiet", "--test", "all"]);
    match (full, name) {
        (false, None) => cargo.arg("conformance::a_sample_passes"),
        _ => cargo.arg("conformance::all_of_it_passes"),
    };
    cargo.args(["--", "--include-ignored", "--nocapture"]);
    if let Some(name) = name {
        cargo.env("CONFORMANCE_NAME", name);
    }
    run_command(&mut cargo, "the specification's tests")
}
