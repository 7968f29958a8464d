//! Upstream's own tests, as far as they can be had without its repository.
//!
//! The published crates lack `wasmtime-test-util`, `test-programs` and other crates that only
//! tests use, so upstream's workspace cannot be loaded. Instead, a package is made for each
//! crate with tests. Its sources are links into the tree, and its manifest is the published
//! one, which lacks what was not published. Wasmtime's package also has those modules of
//! `tests/all`, which belong to wasmtime-cli, that are in the list below.

use crate::files::{link, write_if_changed};
use crate::published::Crate;
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
pub const HELPERS: &str = "\
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

/// Ours.
pub const FEATURE: &str = "preemptive-threads";

/// What has epochs delivered by signals instead.
const EPOCHS: &str = ".epoch_interruption(true)";
const EPOCHS_BY_SIGNAL: &str =
    ".epoch_interruption(true).epoch_delivery(wasmtime::EpochDelivery::Signal)";

/// What is different with signals: see docs/epochs.md.
const NOT_WITH_SIGNALS: &[&str] = &[
    // What such a callback is not allowed to do.
    "memory_grow_in_epoch_callback",
    "table_grow_in_epoch_callback",
    "gc_during_epoch_callback",
    // They count the checks of a loop.
    "epoch_yield_at_loop_header",
    "loops_keep_their_values_across_epochs",
];

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
        [[test]]\nname = \"signals\"\npath = \"signals.rs\"\n\
        required-features = [\"preemptive-threads\"]\n\
        [dev-dependencies.wast]\nversion = \"254\"\n",
};

const WASI: Suite = Suite {
    name: "wasmtime-wasi",
    tests: &["--lib"],
    skipped: &[],
    manifest: "",
};

/// The commands that run the tests of what `patch` touches in `tree`, in packages in `dir`. If
/// it is the `last` one, they also run those that use epochs with signals to deliver them.
pub fn of(root: &Root, patch: &str, last: bool, tree: &Path, dir: &Path) -> Result<Vec<Command>> {
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
        commands.push(test(&package, suite.tests, suite.skipped));
        if last && suite.name == WASMTIME.name {
            let features = format!("call-hook,{FEATURE}");
            let tests = ["--test", "signals", "--features", &features];
            commands.push(test(&package, &tests, NOT_WITH_SIGNALS));
        }
    }
    Ok(commands)
}

fn test(package: &Path, tests: &[&str], skipped: &[&str]) -> Command {
    let mut test = cargo(package);
    test.arg("test").arg("--no-fail-fast").args(tests).arg("--");
    for skipped in skipped {
        test.args(["--skip", skipped]);
    }
    test
}

impl Suite {
    /// Makes the package.
    fn package(&self, root: &Root, of: &Upstream, tree: &Path, dir: &Path) -> Result<PathBuf> {
        let package = dir.join(self.name);
        let (krate, mut manifest) = published_library(of, self.name, tree)?;
        write!(
            manifest,
            "\n[workspace]\n{}\
             [dev-dependencies.wasmtime-test-macros]\npath = {:?}\n",
            self.manifest,
            root.path.join("xtask/test-macros"),
        )?;
        manifest.push_str(&patched_by(of, tree, &[self.name])?);
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
        let modules = Modules::of(tree)?;
        write_if_changed(&package.join("all.rs"), modules.root()?.as_bytes())?;
        let signals = modules.with_signals(&package.join("signals"))?;
        write_if_changed(&package.join("signals.rs"), signals.root()?.as_bytes())?;
        Ok(package)
    }
}

/// A crate that was published, and its published manifest, for the sources in `tree` and without
/// tests.
pub fn published_library<'a>(
    of: &'a Upstream,
    name: &str,
    tree: &Path,
) -> Result<(&'a Crate, String)> {
    let krate = of.crates.iter().find(|krate| krate.name == name);
    let krate = krate.with_context(|| format!("`{name}` is not laid out"))?;
    let published = fs::read_to_string(krate.dir.join("Cargo.toml"))?;
    let patched = fs::read_to_string(tree.join(&krate.path).join("Cargo.toml"))?;
    Ok((
        krate,
        with_our_feature(&without_tests(&published), &patched),
    ))
}

/// Lines of a manifest that make it use the crates in `tree`, except for the root package, and for
/// `without`.
pub fn patched_by(of: &Upstream, tree: &Path, without: &[&str]) -> Result<String> {
    let mut lines = String::new();
    for krate in &of.crates {
        if !without.contains(&&*krate.name) && !krate.path.is_empty() {
            let path = tree.join(&krate.path);
            writeln!(lines, "[patch.crates-io.{}]\npath = {path:?}", krate.name)?;
        }
    }
    Ok(lines)
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

/// A published manifest with the feature that a `patched` one of the same crate has.
fn with_our_feature(published: &str, patched: &str) -> String {
    let feature = format!("{FEATURE} = ");
    let feature = patched.lines().find(|line| line.starts_with(&feature));
    match feature {
        Some(feature) => published.replace("[features]\n", &format!("[features]\n{feature}\n")),
        None => published.to_string(),
    }
}

/// Modules of `tests/all`, and where they are.
struct Modules(Vec<(&'static str, PathBuf)>);

impl Modules {
    /// Those that `tests/all/main.rs` has in this tree.
    fn of(tree: &Path) -> Result<Modules> {
        let dir = tree.join("tests/all");
        let main = fs::read_to_string(dir.join("main.rs"))?;
        let is_there =
            |module: &&&str| !OURS.contains(module) || main.contains(&format!("mod {module};"));
        let modules = MODULES.iter().filter(is_there);
        let place = |module: &&'static str| (*module, dir.join(module).with_extension("rs"));
        Ok(Modules(modules.map(place).collect()))
    }

    /// Those in which epochs are used, changed to have signals deliver them, in `dir`; and the
    /// others, which they import.
    fn with_signals(&self, dir: &Path) -> Result<Modules> {
        let mut modules = Vec::new();
        for (module, path) in &self.0 {
            let source = fs::read_to_string(path)?;
            let mut path = path.clone();
            if source.contains(EPOCHS) {
                path = dir.join(module).with_extension("rs");
                let changed = source.replace(EPOCHS, EPOCHS_BY_SIGNAL);
                write_if_changed(&path, changed.as_bytes())?;
            }
            modules.push((*module, path));
        }
        Ok(Modules(modules))
    }

    /// The root of a test with these modules.
    fn root(&self) -> Result<String> {
        let mut root = HELPERS.to_string();
        for (module, path) in &self.0 {
            writeln!(root, "#[path = {path:?}]\nmod {module};")?;
        }
        Ok(root)
    }
}
