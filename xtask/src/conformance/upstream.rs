//! Upstream's own tests, with every synchronous call on a guest thread.
//!
//! The modules of `tests/all` are compiled as they are, with a copy of the library in which the
//! `call` of functions, of modules and of components, spawns a guest thread, runs it with short
//! slices beside one that spins, and returns what it has returned
//! (xtask/test-guest-threads/in_thread.rs). So calls that bindings make are covered, too.
//! Instances are made, and resources dropped, by plain calls, and so are asynchronous ones.
//!
//! They are also run with plain calls. What fails is compared with tests/conformance/upstream.txt,
//! both ways.

use super::expected::Expected;
use super::runner::{Tests, binary};
use crate::files::{Batch, files_below, link, write_if_changed};
use crate::patches::upstream_tests::{FEATURE, patched_by, published_library};
use crate::root::{Root, cargo};
use crate::upstream::Upstream;
use crate::vendor;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const LIBRARY: &str = "wasmtime";

/// The modules that need crates, or programs, which were not published.
const LEFT_OUT: &[&str] = &[
    "cli_tests",
    "debug_component",
    "guest_debug",
    "native_debug",
    "piped_tests",
    "pulley",
    // Its tests are of a feature that is off by default, and not of ours.
    "stack_switching",
];

/// A way to call guests, and what tells the library of it.
const SOURCES: &[(&str, Option<&str>)] = &[
    ("plain-calls", None),
    ("fuel", Some("fuel")),
    ("epochs", Some("epoch")),
    ("signals", Some("signal")),
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
        "runtime/func.rs",
        "        unsafe { self.call_impl_do_call(&mut store, params, results) }\n",
        "        crate::preempt::in_thread::call_core(store, |store| unsafe {\n            \
         self.call_impl_do_call(store, params, results)\n        })\n",
    ),
    (
        "runtime/func/typed.rs",
        "        unsafe { Self::call_raw(&mut store, &self.ty, func, params) }\n",
        "        crate::preempt::in_thread::call_core(store, |store| unsafe {\n            \
         Self::call_raw(store, &self.ty, func, params)\n        })\n",
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

/// Runs those whose name contains `filter` with what is in vendor/wasmtime.
pub fn of_vendor(root: &Root, filter: &str) -> Result<()> {
    vendor::ensure(root)?;
    let dir = root.target()?.join("patches-build");
    run_with(root, &root.wasmtime(), &dir, filter)
}

/// Runs them with what is in `tree`, in packages in `dir`.
pub fn run_with(root: &Root, tree: &Path, dir: &Path, filter: &str) -> Result<()> {
    let list = root.path.join("tests/conformance/upstream.txt");
    let list =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let expected = Expected::parse(&list)?;
    let tests = build(root, tree, dir)?;
    let names = tests.list(filter)?;
    if names.is_empty() {
        bail!("none of upstream's tests has a name that contains `{filter}`");
    }
    let mut unexpected = Vec::new();
    for (source, variable) in SOURCES {
        let environment: &[_] = match variable {
            Some(value) => &[("GUEST_CALLS", *value)],
            None => &[],
        };
        let is_run = |name: &&String| expected.of(name, source).is_none_or(|entry| entry.is_run());
        let run: Vec<String> = names.iter().filter(is_run).cloned().collect();
        let outcomes = tests.run(&run, environment)?;
        let failed = outcomes.values().filter(|outcome| outcome.is_err()).count();
        let passed = outcomes.len() - failed;
        let left_out = names.len() - run.len();
        println!(
            "{LIBRARY:36} {source:11} {passed:6} passed, {failed:3} failed, {left_out:3} not run"
        );

        let mut reasons = BTreeMap::<&str, Vec<&str>>::new();
        for (name, outcome) in &outcomes {
            match (outcome, expected.of(name, source)) {
                (Ok(()), None) => {}
                (Err(_), Some(entry)) => reasons.entry(entry.reason).or_default().push(name),
                (Ok(()), Some(_)) => {
                    unexpected.push(format!("{name} {source}: passes, but is expected to fail"));
                }
                (Err(output), None) => unexpected.push(format!("{name} {source}: {output}")),
            }
        }
        for entry in expected.about(source) {
            if filter.is_empty() && !names.iter().any(|name| entry.is_for(name)) {
                unexpected.push(format!("{} {source}: there is no such test", entry.test));
            }
        }
        for (reason, tests) in reasons {
            println!("{source}, expected to fail: {reason}");
            for test in tests {
                println!("  {test}");
            }
        }
    }
    if !unexpected.is_empty() {
        bail!(
            "{} results are not as expected:\n{}",
            unexpected.len(),
            unexpected.join("\n")
        );
    }
    Ok(())
}

fn build(root: &Root, tree: &Path, dir: &Path) -> Result<Tests> {
    let package = make_package(root, tree, &dir.join("tests"))?;
    let built = cargo(&package)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .args(["test", "--no-run", "--test", "all"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !built.status.success() {
        bail!("upstream's tests cannot be compiled");
    }
    let program = binary(&String::from_utf8_lossy(&built.stdout), "all");
    Ok(Tests {
        program: program.context("cargo does not say where upstream's tests are")?,
        dir: tree.to_path_buf(),
    })
}

/// Makes the package with the tests, and returns its directory.
fn make_package(root: &Root, tree: &Path, dir: &Path) -> Result<PathBuf> {
    let upstream = Upstream::fetch(root)?;
    let library = dir.join("guest-threads-wasmtime");
    write_library(root, &upstream, tree, &library)?;
    let mut copies = vec![(LIBRARY.to_string(), library)];
    for krate in &upstream.crates {
        let published = fs::read_to_string(krate.dir.join("Cargo.toml"))?;
        if !krate.path.is_empty() && published.contains("\n[dependencies.wasmtime]\n") {
            let copy = dir.join("guest-threads-crates").join(&krate.name);
            link_library(&upstream, &krate.name, tree, &copy, &[])?;
            copies.push((krate.name.clone(), copy));
        }
    }

    let package = dir.join("guest-threads");
    write_if_changed(
        &package.join("Cargo.toml"),
        manifest(root, &upstream, tree, &copies)?.as_bytes(),
    )?;
    // A package has to have more than tests.
    write_if_changed(&package.join("lib.rs"), b"")?;
    let lock = package.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root.upstream().join("Cargo.lock"), &lock)?;
    }
    let all = tree.join("tests/all");
    let modules = fs::read_to_string(all.join("main.rs"))?;
    let mut main = String::from("#![recursion_limit = \"256\"]\n");
    for line in modules.lines() {
        let module = line.strip_prefix("mod ").and_then(|m| m.strip_suffix(';'));
        match module {
            // What is before it in the file is about it.
            Some(module) if LEFT_OUT.contains(&module) => main.push_str("const _: () = ();\n"),
            _ => writeln!(main, "{line}")?,
        }
    }
    writeln!(
        main,
        "#[path = {:?}]\nmod guest_threads;",
        root.path.join("xtask/test-guest-threads/checks.rs")
    )?;
    for entry in fs::read_dir(&all)? {
        let name = entry?.file_name();
        if name != "main.rs" {
            link(&all.join(&name), &package.join("all").join(&name))?;
        }
    }
    write_if_changed(&package.join("all/main.rs"), main.as_bytes())?;
    Ok(package)
}

/// The manifest of the tests, which use these `copies` of crates, and otherwise those in `tree`.
fn manifest(
    root: &Root,
    upstream: &Upstream,
    tree: &Path,
    copies: &[(String, PathBuf)],
) -> Result<String> {
    let mut manifest = format!(
        "[workspace]\n\
         [package]\nname = \"guest-threads\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n\
         [[test]]\nname = \"all\"\npath = \"all/main.rs\"\n\
         [features]\ndefault = [\"{FEATURE}\"]\n{FEATURE} = []\n\
         gdbstub = []\nstack-switching = []\n\
         [dev-dependencies]\n\
         anyhow-for-testing = {{ package = \"anyhow\", version = \"1\" }}\n\
         async-trait = \"0.1\"\n\
         bytes = \"1\"\n\
         cranelift-native = \"*\"\n\
         env_logger = \"0.11\"\n\
         futures = \"0.3\"\n\
         libc = \"0.2\"\n\
         log = \"0.4\"\n\
         memchr = \"2\"\n\
         object = \"0.39\"\n\
         rand = \"0.10\"\n\
         rayon = \"1\"\n\
         rustix = {{ version = \"1\", features = [\"mm\", \"param\"] }}\n\
         serde_json = \"1\"\n\
         target-lexicon = \"0.13\"\n\
         tempfile = \"3\"\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt\", \"rt-multi-thread\", \"time\"] }}\n\
         tracing = \"0.1\"\n\
         wasm-encoder = \"0.254\"\n\
         wasmparser = \"0.254\"\n\
         wast = \"254\"\n\
         wat = \"1\"\n\
         wasmtime-component-util = {{ package = \"wasmtime-internal-component-util\", \
         version = \"48\" }}\n\
         wasmtime-environ = \"48\"\n\
         wasmtime-wasi = \"48\"\n\
         wasmtime-test-macros = {{ path = {:?} }}\n\
         wasmtime-test-util = {{ path = {:?} }}\n\
         [dev-dependencies.wasmtime]\nversion = \"48\"\n\
         features = [\"all-arch\", \"call-hook\", \"component-model-bytes\", \
         \"memory-protection-keys\", \"pulley\", \"wave\", \"winch\", \"{FEATURE}\"]\n",
        root.path.join("xtask/test-macros"),
        root.path.join("xtask/test-util"),
    );
    for (name, path) in copies {
        writeln!(manifest, "[patch.crates-io.{name}]\npath = {path:?}")?;
    }
    let copied: Vec<&str> = copies.iter().map(|(name, _)| &**name).collect();
    manifest.push_str(&patched_by(upstream, tree, &copied)?);
    Ok(manifest)
}

/// Makes a copy of a crate in `dir`, which consists of links but for its manifest, as that in `tree`
/// names the library by its path; and but for what is `left_out`. Returns where the crate is.
fn link_library(
    upstream: &Upstream,
    name: &str,
    tree: &Path,
    dir: &Path,
    left_out: &[&str],
) -> Result<PathBuf> {
    let (krate, manifest) = published_library(upstream, name, tree)?;
    let manifest = format!("{manifest}\n[workspace]\n");
    write_if_changed(&dir.join("Cargo.toml"), manifest.as_bytes())?;
    let krate = tree.join(&krate.path);
    for entry in fs::read_dir(&krate)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_left_out = left_out.iter().any(|left_out| name == *left_out);
        if name != "Cargo.toml" && name != "tests" && !is_left_out {
            link(&entry.path(), &dir.join(name))?;
        }
    }
    Ok(krate)
}

/// Makes the library whose calls are guest threads, in `dir`.
fn write_library(root: &Root, upstream: &Upstream, tree: &Path, dir: &Path) -> Result<()> {
    let sources = link_library(upstream, LIBRARY, tree, dir, &["src"])?.join("src");
    let mut batch = Batch::default();
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
    let in_thread = fs::read(root.path.join("xtask/test-guest-threads/in_thread.rs"))?;
    let place = "src/runtime/preempt/component_thread/in_thread.rs";
    batch.write(&dir.join(place), &in_thread)?;
    batch.commit()
}
