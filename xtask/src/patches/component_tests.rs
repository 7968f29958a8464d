//! Upstream's tests of components, with every synchronous call on a guest thread.
//!
//! The tests are compiled as they are, with a copy of the library in which `Func::call` and
//! `TypedFunc::call` spawn a guest thread, run it with short slices beside one that spins, and
//! return what it has returned (xtask/test-components/in_thread.rs). So calls that bindings make are
//! covered, too. Instances are made, and resources dropped, by plain calls.
//!
//! They are first run with plain calls.

use super::upstream_tests::{FEATURE, HELPERS, published_library};
use crate::files::{Batch, files_below, link, write_if_changed};
use crate::root::{Root, cargo, run};
use crate::upstream::Upstream;
use crate::vendor;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "wasmtime";

/// The modules of `tests/all`: those of components, and what they import.
const FILES: &[&str] = &[
    "async_functions.rs",
    "call_hook.rs",
    "component_model",
    "component_model.rs",
];

/// The sources of preemption.
const SOURCES: &[&str] = &["fuel", "epoch", "signal"];

/// Tests that fail with plain calls, too: what they expect is different in the fork.
const DIFFERENT: &[&str] = &[
    // Plain imports may be concurrent host functions.
    "missing_async::func_new_concurrent_cannot_satisfy_sync_import",
];

/// Tests of what is different on guest threads.
const DIFFERENT_ON_THREADS: &[&str] = &[
    // They count calls of a hook. It is also called whenever a thread leaves the CPU or is put back
    // on it, and for the thread that spins.
    "call_hook::call_wrapped_func",
    "call_hook::call_func_with_post_return",
    "call_hook::call_func_with_realloc",
    "call_hook::trapping",
    // A call that traps shuts the instance of its component, and not all of the store.
    "func::errors_that_poison_instance",
    // An error is returned where upstream panics.
    "async::call_between_start_and_finish",
    // Its pool has no stacks.
    "strings::pass_string_on_component_boundary",
];

/// A change to the library: the file, a line of it, and what that is replaced by.
type Change = (&'static str, &'static str, &'static str);

const CHANGES: &[Change] = &[
    (
        "config.rs",
        "            preemption: None,\n",
        "            preemption: crate::preempt::in_thread::preemption(),\n",
    ),
    (
        "runtime/component/func.rs",
        "        let mut store = store.as_context_mut();\n        \
         store.0.validate_sync_call()?;\n        \
         self.call_impl(store.as_context_mut(), params, results)?;\n        Ok(())\n",
        "        let store = store.as_context_mut();\n        \
         store.0.validate_sync_call()?;\n        \
         crate::preempt::in_thread::call(store, self, |store| {\n            \
         self.call_impl(store.as_context_mut(), params, results)\n        })\n",
    ),
    (
        "runtime/component/func/typed.rs",
        "        let mut store = store.as_context_mut();\n        \
         store.0.validate_sync_call()?;\n        \
         self.call_impl(store.as_context_mut(), params)\n",
        "        let store = store.as_context_mut();\n        \
         store.0.validate_sync_call()?;\n        \
         crate::preempt::in_thread::call(store, &self.func, |store| {\n            \
         self.call_impl(store.as_context_mut(), params)\n        })\n",
    ),
    (
        "runtime/preempt.rs",
        "mod component_thread;\n",
        "mod component_thread;\npub(crate) use self::component_thread::in_thread;\n",
    ),
    (
        "runtime/preempt/component_thread.rs",
        "use super::components;\n",
        "pub(crate) mod in_thread;\nuse super::components;\n",
    ),
];

/// Runs them with what is in vendor/wasmtime.
pub fn of_vendor(root: &Root) -> Result<()> {
    vendor::ensure(root)?;
    let dir = root.target()?.join("patches-build");
    run_with(root, &root.wasmtime(), &dir)
}

/// Runs them with what is in `tree`, in packages in `dir`.
pub fn run_with(root: &Root, tree: &Path, dir: &Path) -> Result<()> {
    let package = Package::make(root, tree, &dir.join("tests"))?;
    package.test(dir, None)?;
    for source in SOURCES {
        package.test(dir, Some(source))?;
    }
    Ok(())
}

struct Package(PathBuf);

impl Package {
    fn make(root: &Root, tree: &Path, dir: &Path) -> Result<Package> {
        let upstream = Upstream::fetch(root)?;
        let library = dir.join("components-wasmtime");
        write_library(root, &upstream, tree, &library)?;

        let package = dir.join("components");
        write_if_changed(
            &package.join("Cargo.toml"),
            manifest(root, &upstream, tree, &library)?.as_bytes(),
        )?;
        // A package has to have more than tests.
        write_if_changed(&package.join("lib.rs"), b"")?;
        let lock = package.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(root.upstream().join("Cargo.lock"), &lock)?;
        }
        for file in FILES {
            link(&tree.join("tests/all").join(file), &package.join(file))?;
        }
        let modules = fs::read_to_string(root.path.join("xtask/test-components/modules.rs"))?;
        let main = format!("{HELPERS}\n{modules}");
        write_if_changed(&package.join("main.rs"), main.as_bytes())?;
        Ok(Package(package))
    }

    /// Runs the tests, with calls that `source` preempts, if any.
    fn test(&self, dir: &Path, source: Option<&str>) -> Result<()> {
        let mut test = cargo(&self.0);
        test.env("CARGO_TARGET_DIR", dir.join("target"));
        // The text format has become stricter since the tests were written.
        test.env("WAST_STRICT_COMPONENT_INDICES", "0");
        test.args(["test", "--no-fail-fast", "--test", "components", "--"]);
        test.arg("component_model");
        let mut different = DIFFERENT.to_vec();
        match source {
            Some(source) => {
                test.env("COMPONENT_CALLS", source);
                different.extend(DIFFERENT_ON_THREADS);
            }
            None => {
                test.env_remove("COMPONENT_CALLS");
            }
        }
        for name in different {
            test.args(["--skip", name]);
        }
        let calls = source.unwrap_or("none");
        run(
            &mut test,
            &format!("upstream's tests of components, preempted by {calls}"),
        )
    }
}

fn manifest(root: &Root, upstream: &Upstream, tree: &Path, library: &Path) -> Result<String> {
    let mut manifest = format!(
        "[workspace]\n\
         [package]\nname = \"components\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n\
         [[test]]\nname = \"components\"\npath = \"main.rs\"\n\
         [dev-dependencies]\n\
         anyhow-for-testing = {{ package = \"anyhow\", version = \"1\" }}\n\
         async-trait = \"0.1\"\n\
         bytes = \"1\"\n\
         env_logger = \"0.11\"\n\
         futures = \"0.3\"\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt\", \"time\"] }}\n\
         tracing = \"0.1\"\n\
         wat = \"1\"\n\
         wasmtime-component-util = {{ package = \"wasmtime-internal-component-util\", \
         version = \"48\" }}\n\
         wasmtime-test-macros = {{ path = {:?} }}\n\
         wasmtime-test-util = {{ path = {:?} }}\n\
         [dev-dependencies.wasmtime]\nversion = \"48\"\n\
         features = [\"call-hook\", \"component-model-bytes\", \"wave\", \"{FEATURE}\"]\n\
         [patch.crates-io.{LIBRARY}]\npath = {library:?}\n",
        root.path.join("xtask/test-macros"),
        root.path.join("xtask/test-util"),
    );
    for other in &upstream.crates {
        if other.name != LIBRARY && !other.path.is_empty() {
            let path = tree.join(&other.path);
            write!(
                manifest,
                "[patch.crates-io.{}]\npath = {path:?}\n",
                other.name
            )?;
        }
    }
    Ok(manifest)
}

/// Makes the library whose calls are guest threads, in `dir`.
fn write_library(root: &Root, upstream: &Upstream, tree: &Path, dir: &Path) -> Result<()> {
    let (krate, manifest) = published_library(upstream, LIBRARY, tree)?;
    let manifest = format!("{manifest}\n[workspace]\n");
    for entry in fs::read_dir(tree.join(&krate.path))? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "Cargo.toml" && name != "src" && name != "tests" {
            link(&entry.path(), &dir.join(name))?;
        }
    }

    let mut batch = Batch::default();
    batch.write(&dir.join("Cargo.toml"), manifest.as_bytes())?;
    let sources = tree.join(&krate.path).join("src");
    for file in files_below(&sources)? {
        let mut bytes = fs::read(sources.join(&file))
            .with_context(|| format!("cannot read {file} of {LIBRARY}"))?;
        for (_, from, to) in CHANGES.iter().filter(|change| change.0 == file) {
            let text = String::from_utf8(bytes)?;
            if text.matches(from).count() != 1 {
                bail!("{file} of {LIBRARY} does not have this once:\n{from}");
            }
            bytes = text.replace(from, to).into_bytes();
        }
        batch.write(&dir.join("src").join(&file), &bytes)?;
    }
    let in_thread = fs::read(root.path.join("xtask/test-components/in_thread.rs"))?;
    let place = "src/runtime/preempt/component_thread/in_thread.rs";
    batch.write(&dir.join(place), &in_thread)?;
    batch.commit()
}
