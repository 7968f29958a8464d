//! Wasmtime must keep compiling with other combinations of its features than the one that
//! our workspace uses.

use super::{Findings, Scope};
use crate::feature_sets::{PREEMPT, STOCK};
use crate::root::Root;
use anyhow::Result;

pub fn check(root: &Root, scope: &Scope, findings: &mut Findings) -> Result<()> {
    for set in PREEMPT.iter().chain(STOCK) {
        eprintln!("lint: wasmtime with the feature set {}", set.name);
        let dir = scope.target_dir().join("feature-sets").join(set.name);
        let mut check = set.check(root, &root.wasmtime(), &dir)?;
        check.arg("--keep-going");
        scope.run_clippy(check, findings, set.name)?;
    }
    Ok(())
}
