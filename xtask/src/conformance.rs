//! `cargo xtask conformance`: the suites that nobody here wrote, with calls on guest threads. The
//! WebAssembly specification's tests are in tests/conformance.rs, upstream's in [`upstream`].

mod expected;
mod runner;
pub mod upstream;

use crate::root::{Root, run as run_command};
use crate::tasks::{self, Profile};
use anyhow::Result;

/// The name that upstream's tests have here, and the beginning of theirs.
const UPSTREAM: &str = "upstream";

pub fn run(root: &Root, full: bool, name: Option<&str>) -> Result<()> {
    let of_upstream = name.and_then(|name| name.strip_prefix(UPSTREAM));
    if of_upstream.is_none() {
        specification(root, full, name)?;
    }
    match (name, of_upstream) {
        (None, _) if full => upstream::of_vendor(root, ""),
        (_, Some(tests)) => upstream::of_vendor(root, tests.trim_start_matches('/')),
        _ => Ok(()),
    }
}

fn specification(root: &Root, full: bool, name: Option<&str>) -> Result<()> {
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
