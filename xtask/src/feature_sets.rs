//! The combinations of Wasmtime's features that must compile, and packages that select them.

use crate::files::write_if_changed;
use crate::root::{Root, capture, cargo};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

pub struct FeatureSet {
    pub name: &'static str,
    default: bool,
    features: &'static [&'static str],
    /// Whether it includes the crate for WASI.
    wasi: bool,
}

/// With our feature.
pub const PREEMPT: &[FeatureSet] = &[
    FeatureSet {
        name: "preempt-only",
        default: false,
        features: &["runtime", "std", "preemptive-threads"],
        wasi: false,
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
        wasi: false,
    },
    FeatureSet {
        name: "preempt-default",
        default: true,
        features: &["preemptive-threads"],
        wasi: false,
    },
    FeatureSet {
        name: "preempt-call-hook",
        default: true,
        features: &["call-hook", "memory-protection-keys", "preemptive-threads"],
        wasi: false,
    },
];

/// Without it.
pub const STOCK: &[FeatureSet] = &[
    FeatureSet {
        name: "stock-default",
        default: true,
        features: &[],
        wasi: true,
    },
    FeatureSet {
        name: "stock-runtime",
        default: false,
        features: &["runtime", "std", "async"],
        wasi: false,
    },
    FeatureSet {
        name: "stock-compiler",
        default: false,
        features: &["cranelift"],
        wasi: false,
    },
    FeatureSet {
        name: "stock-none",
        default: false,
        features: &[],
        wasi: false,
    },
];

impl FeatureSet {
    /// A `cargo check` of the Wasmtime in `tree` with these features, made in `dir`, which is
    /// a package that only depends on it: on its command line, cargo accepts only features of
    /// workspace members.
    pub fn check(&self, root: &Root, tree: &Path, dir: &Path) -> Result<Command> {
        let wasmtime = tree.join("crates/wasmtime");
        let mut manifest = format!(
            "[workspace]\n[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies.wasmtime]\npath = {wasmtime:?}\ndefault-features = {}\n\
             features = {:?}\n",
            self.name, self.default, self.features
        );
        if self.wasi {
            let wasi = tree.join("crates/wasi");
            manifest.push_str(&format!("[dependencies.wasmtime-wasi]\npath = {wasi:?}\n"));
        }
        write_if_changed(&dir.join("Cargo.toml"), manifest.as_bytes())?;
        write_if_changed(&dir.join("src/lib.rs"), b"")?;
        // The versions that are pinned and in cargo's cache.
        let lock = dir.join("Cargo.lock");
        if !lock.exists() {
            std::fs::copy(root.upstream().join("Cargo.lock"), &lock)
                .context("cannot copy vendor/upstream/Cargo.lock")?;
        }
        let mut check = cargo(dir);
        check.arg("check");
        let offline = capture(cargo(dir).args(["metadata", "--offline", "--format-version=1"]))?;
        if offline.ok {
            check.arg("--offline");
        }
        Ok(check)
    }
}
