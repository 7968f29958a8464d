//! Upstream's own tests, as far as they can be had without its repository.
//!
//! The published crates lack `wasmtime-test-util`, `test-programs` and other crates that only
//! tests use, so upstream's workspace cannot be loaded. Instead, a package is made for each
//! crate with tests. Its sources are links into the tree, and its manifest is the published
//! one, which lacks what was not published. Wasmtime's package also has those modules of
//! `tests/all`, which belong to wasmtime-cli, that are in the list below.

use crate::files::{link, write_if_changed};
use crate::root::{Root, cargo};
use crate::summary::summarize;
use crate::upstream::Upstream;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of `tests/all` that need no crate that was not published, and concern what the
/// patches change.
const MODULES: &[&str] = &[
    "async_functions",
    "call_hook",
    "epoch_interruption",
    "externals",
    "fuel",
    "func",
    "globals",
    "iloop",
    "instance",
    "linker",
    "loop_checks",
    "missing_async",
    "stack_creator",
    "store",
    "table",
    "threads",
    "wait_notify",
];

/// What the modules use of the root of upstream's tests: the smallest pools that they need.
const HELPERS: &str = "\
#![recursion_limit = \"256\"]
#![allow(unused, reason = \"some of the tests are left out\")]

pub(crate) fn small_pool_config() -> wasmtime::PoolingAllocationConfig {
    let mut config = wasmtime::PoolingAllocationConfig::new();
    config
        .total_memories(1)
        .max_memory_size(1 << 16)
        .total_tables(1)
        .table_elements(10)
        .total_stacks(1);
    config
}
";

/// Those that one of our patches adds.
const OURS: &[&str] = &["loop_checks"];

/// A crate with tests that can be run.
struct Suite {
    name: &'static str,
    /// What is tested of it, in cargo's words.
    tests: &'static [&'static str],
    /// Tests whose names contain one of these fail for reasons that no patch can change.
    skipped: &'static [&'static str],
    /// More lines of its manifest.
    manifest: &'static str,
}

const WASMTIME: Suite = Suite {
    name: "wasmtime",
    tests: &["--lib", "--test", "all", "--features", "call-hook"],
    // They fail where the kernel's `PAGEMAP_SCAN` does not report what they expect, with
    // upstream's sources as with ours.
    skipped: &["pagemap::"],
    manifest: "[[test]]\nname = \"all\"\npath = \"all.rs\"\n\
        [dev-dependencies.wast]\nversion = \"254\"\n",
};

const WASI: Suite = Suite {
    name: "wasmtime-wasi",
    tests: &["--lib"],
    skipped: &[],
    manifest: "",
};

/// The commands that run the tests of what `patch` touches in `tree`, in packages in `dir`.
pub fn of(root: &Root, patch: &str, tree: &Path, dir: &Path) -> Result<Vec<Command>> {
    let in_wasi = |path: &str| path.starts_with("crates/wasi/");
    let files = summarize(patch).files;
    let mut suites = Vec::new();
    if files.iter().any(|file| !in_wasi(&file.path)) {
        suites.push(WASMTIME);
    }
    if files.iter().any(|file| in_wasi(&file.path)) {
        suites.push(WASI);
    }
    let upstream = Upstream::fetch(root)?;
    let mut commands = Vec::new();
    for suite in suites {
        let package = suite.package(root, &upstream, tree, &dir.join("tests"))?;
        let mut test = cargo(&package);
        test.arg("test").arg("--no-fail-fast").args(suite.tests);
        test.arg("--");
        for skipped in suite.skipped {
            test.args(["--skip", skipped]);
        }
        commands.push(test);
    }
    Ok(commands)
}

impl Suite {
    /// Makes the package.
    fn package(&self, root: &Root, of: &Upstream, tree: &Path, dir: &Path) -> Result<PathBuf> {
        let krate = of.crates.iter().find(|krate| krate.name == self.name);
        let krate = krate.with_context(|| format!("`{}` is not laid out", self.name))?;
        let package = dir.join(self.name);
        let published = fs::read_to_string(krate.dir.join("Cargo.toml"))?;
        let mut manifest = without_tests(&published);
        write!(
            manifest,
            "\n[workspace]\n{}\
             [dev-dependencies.wasmtime-test-macros]\npath = {:?}\n",
            self.manifest,
            root.path.join("xtask/test-macros"),
        )?;
        for other in &of.crates {
            if other.name != self.name && !other.path.is_empty() {
                let path = tree.join(&other.path);
                write!(
                    manifest,
                    "[patch.crates-io.{}]\npath = {path:?}\n",
                    other.name
                )?;
            }
        }
        write_if_changed(&package.join("Cargo.toml"), manifest.as_bytes())?;
        let lock = package.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(root.upstream().join("Cargo.lock"), &lock)?;
        }

        for entry in fs::read_dir(tree.join(&krate.path))? {
            let entry = entry?;
            let name = entry.file_name();
            if name != "Cargo.toml" && name != "tests" {
                link(&entry.path(), &package.join(name))?;
            }
        }
        link(&tree.join("tests"), &package.join("tests"))?;
        write_if_changed(&package.join("all.rs"), all(tree)?.as_bytes())?;
        Ok(package)
    }
}

/// The part of a published manifest that is not about the package's own tests.
fn without_tests(manifest: &str) -> String {
    let mut kept = String::new();
    let mut in_test = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_test = line == "[[test]]" || line == "[[bench]]" || line == "[[example]]";
        }
        if !in_test {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The root of the tests: the modules that `tests/all/main.rs` has in this tree.
fn all(tree: &Path) -> Result<String> {
    let main = fs::read_to_string(tree.join("tests/all/main.rs"))?;
    let mut all = HELPERS.to_string();
    for module in MODULES {
        if !OURS.contains(module) || main.contains(&format!("mod {module};")) {
            let path = tree.join("tests/all").join(module).with_extension("rs");
            writeln!(all, "#[path = {path:?}]\nmod {module};")?;
        }
    }
    Ok(all)
}
