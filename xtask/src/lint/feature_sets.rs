//! Wasmtime must keep compiling with other combinations of its features than the one that
//! our workspace uses.

use super::{Findings, Scope};
use crate::files::write_if_changed;
use crate::root::{Root, capture, cargo};
use anyhow::{Context, Result};
use std::path::Path;

struct FeatureSet {
    name: &'static str,
    default: bool,
    features: &'static [&'static str],
}

const FEATURE_SETS: &[FeatureSet] = &[
    FeatureSet {
        name: "preempt-only",
        default: false,
        features: &["runtime", "std", "preemptive-threads"],
    },
    FeatureSet {
        name: "preempt-component-async",
        default: false,
        features: &[
            "runtime",
            "std",
            "component-model-async",
            "preemptive-threads",
        ],
    },
    FeatureSet {
        name: "preempt-default",
        default: true,
        features: &["preemptive-threads"],
    },
    FeatureSet {
        name: "preempt-call-hook",
        default: true,
        features: &["call-hook", "memory-protection-keys", "preemptive-threads"],
    },
    FeatureSet {
        name: "stock-default",
        default: true,
        features: &[],
    },
    FeatureSet {
        name: "stock-runtime",
        default: false,
        features: &["runtime", "std", "async"],
    },
];

pub fn check(root: &Root, scope: &Scope, findings: &mut Findings) -> Result<()> {
    for set in FEATURE_SETS {
        eprintln!("lint: wasmtime with the feature set {}", set.name);
        let dir = scope.target_dir().join("feature-sets").join(set.name);
        write_package(root, &dir, set)?;
        let mut check = cargo(&dir);
        check.args(["check", "--keep-going"]);
        let offline = capture(cargo(&dir).args(["metadata", "--offline", "--format-version=1"]))?;
        if offline.ok {
            check.arg("--offline");
        }
        scope.run_clippy(check, findings, set.name)?;
    }
    Ok(())
}

/// A package that only depends on Wasmtime: on its command line, cargo accepts only
/// features of workspace members.
fn write_package(root: &Root, dir: &Path, set: &FeatureSet) -> Result<()> {
    let wasmtime = root.wasmtime().join("crates/wasmtime");
    let manifest = format!(
        "[workspace]\n[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies.wasmtime]\npath = {wasmtime:?}\ndefault-features = {}\nfeatures = {:?}\n",
        set.name, set.default, set.features
    );
    write_if_changed(&dir.join("Cargo.toml"), manifest.as_bytes())?;
    write_if_changed(&dir.join("src/lib.rs"), b"")?;
    // The versions that are pinned and in cargo's cache.
    let lock = dir.join("Cargo.lock");
    if !lock.exists() {
        std::fs::copy(root.upstream().join("Cargo.lock"), &lock)
            .context("cannot copy vendor/upstream/Cargo.lock")?;
    }
    Ok(())
}
