//! The commands that build and run things.

use crate::busy::Busy;
use crate::conformance::upstream;
use crate::root::{Root, cargo, run as run_command};
use crate::{aarch64, fuzz, lint, nextest, patches, vendor, wasmtime};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// The options of `test`.
#[derive(Clone, Copy)]
pub struct Tests<'a> {
    pub full: bool,
    pub busy: bool,
    pub filter: Option<&'a str>,
}

impl Tests<'_> {
    /// How many tests to run at the same time.
    fn at_once(self) -> Result<usize> {
        // Many tests spend most of their time waiting, for a program or for time to pass.
        let tests = 2 * std::thread::available_parallelism()?.get();
        Ok(match self.busy {
            // This gives them half of the machine.
            true => tests.max(SPINNERS),
            false => tests,
        })
    }
}

/// How many processes run beside the tests with `--busy`.
const SPINNERS: usize = 8;

pub fn test(root: &Root, tests: Tests<'_>) -> Result<()> {
    let Tests { full, busy, filter } = tests;
    // First, because `--busy` is not meant to slow this down.
    let mut compile = build(root, Profile::Debug)?;
    compile.args(["test", "--workspace", "--no-run", "--quiet"]);
    run_command(&mut compile, "`cargo test --workspace --no-run`")?;
    let spinners = match busy {
        true => {
            eprintln!("test: beside {SPINNERS} processes that spin");
            Some(Busy::start(&std::env::current_exe()?, SPINNERS)?)
        }
        false => None,
    };

    match nextest::is_installed(root) {
        true => with_nextest(root, tests)?,
        false => with_cargo(root, tests)?,
    }

    if full && filter.is_none() {
        eprintln!("test: with call hooks, for which Wasmtime is compiled once more");
        let mut hooks = build(root, Profile::Debug)?;
        hooks
            .args([
                "test",
                "--package",
                "wasmtime-preempt",
                "--features",
                "call-hook",
            ])
            .args(["--test", "all", "call_hooks"]);
        run_command(&mut hooks, "`cargo test --features call-hook`")?;
    }

    if full && filter.is_none() {
        eprintln!("test: the fuzz targets, for five minutes each");
        fuzz::test(root, 300)?;
    }

    if full && filter.is_none() {
        match aarch64::unavailable() {
            None => aarch64::test(root, None)?,
            Some(why) => eprintln!("test: nothing on aarch64, because {why}"),
        }
    }

    if full {
        eprintln!("test: upstream's command, built with the fork");
        wasmtime::test(root, filter)?;
        if filter.is_none() {
            eprintln!("test: upstream's tests, with calls on guest threads");
            upstream::of_vendor(root, "")?;
            eprintln!("test: listings of what code is compiled to");
            patches::listings::run_them(root, false)?;
        }
    }

    eprintln!("test: the kernel without Wasmtime");
    run_command(&mut kernel(root, tests)?, "`cargo test` of tests/kernel")?;

    eprintln!("test: xtask");
    let mut xtask = cargo(&root.path);
    xtask
        .arg("test")
        .env("RUST_TEST_THREADS", tests.at_once()?.to_string())
        .arg("--manifest-path")
        .arg(root.xtask_manifest())
        .args(filter);
    if full {
        xtask.args(["--", "--include-ignored"]);
    }
    run_command(&mut xtask, "`cargo test` of xtask")?;
    drop(spinners);

    eprintln!("test: patches");
    patches::check(root)?;
    if full && filter.is_none() {
        lint::lint(root)?;
    }
    Ok(())
}

/// Runs each test in its own process, and the tests of all crates side by side.
fn with_nextest(root: &Root, tests: Tests<'_>) -> Result<()> {
    let mut nextest = workspace(root)?;
    nextest
        .args(["nextest", "run", "--workspace", "--no-tests", "pass"])
        .arg(format!("--test-threads={}", tests.at_once()?))
        .args(tests.filter);
    if tests.full {
        // Shows what the tests print: how much a soak has done.
        nextest.args(["--profile", "full", "--run-ignored", "all"]);
        nextest.args(["--success-output", "final"]);
    }
    run_command(&mut nextest, "`cargo nextest run --workspace`")?;

    eprintln!("test: examples in the documentation");
    let mut docs = workspace(root)?;
    docs.args(["test", "--workspace", "--doc", "--quiet"])
        .args(tests.filter);
    run_command(&mut docs, "`cargo test --workspace --doc`")
}

fn with_cargo(root: &Root, tests: Tests<'_>) -> Result<()> {
    let mut all = workspace(root)?;
    all.args(["test", "--workspace"]).args(tests.filter);
    if tests.full {
        all.args(["--", "--include-ignored", "--show-output"]);
    }
    run_command(&mut all, "`cargo test --workspace`")
}

/// A cargo command that runs the workspace's tests.
fn workspace(root: &Root) -> Result<Command> {
    let mut workspace = build(root, Profile::Debug)?;
    // Makes tests/docs.rs strict about the commands that it runs.
    workspace.env("XTASK_TEST", "1");
    Ok(workspace)
}

/// The tests of overlay files that need nothing of Wasmtime; with `--full`, all of them.
fn kernel(root: &Root, tests: Tests<'_>) -> Result<Command> {
    let mut kernel = cargo(&root.path);
    kernel
        .args(["test", "--quiet", "--manifest-path"])
        .arg(root.kernel_tests().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(root.target()?.join("kernel"));
    if !tests.full {
        kernel.args(["--test", "units", "--test", "interrupts"]);
    }
    kernel.args(tests.filter);
    Ok(kernel)
}

pub fn bench(root: &Root, args: &[String]) -> Result<()> {
    let mut bench = build(root, Profile::Release)?;
    bench
        .args(["bench", "--package", "preempt-benches"])
        .args(args);
    run_command(&mut bench, "`cargo bench`")
}

/// The options of `bench-paper`.
pub const PAPER_HELP: &str = "\
Measuring:
  --quick               Measure for less than a minute, and only print
  --only paper|broad    Measure this set of workloads only, and only print
  --workload NAME       Measure this workload only, and only print
  --no-stock            Leave out stock Wasmtime, which takes some minutes to compile
                        the first time, and only print
  --json FILE           Also write the figures to this file

Writing:
  --no-docs             Only print
  --from FILE           Do not measure: take the figures from what --json has written";

/// Runs in the directory in which this process was started, since files are relative to it.
pub fn paper(root: &Root, args: &[String]) -> Result<()> {
    let mut paper = build(root, Profile::Release)?;
    paper
        .current_dir(std::env::current_dir()?)
        .args(["run", "--release", "--package", "preempt-benches"])
        .args(["--bin", "bench-paper", "--manifest-path"])
        .arg(root.path.join("Cargo.toml"))
        .arg("--")
        .args(args);
    run_command(&mut paper, "the measurement")
}

/// A cargo profile, which is compiled separately from the others.
#[derive(Clone, Copy)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    fn dir(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        }
    }
}

/// A cargo command at the root of the repository. Makes sure that vendor/wasmtime is there.
pub fn build(root: &Root, profile: Profile) -> Result<Command> {
    vendor::ensure(root)?;
    if !has_compiled_wasmtime(&root.target()?.join(profile.dir())) {
        eprintln!(
            "build: the first one compiles Wasmtime, 5 to 15 minutes on two cores; \
             later ones take seconds"
        );
    }
    Ok(cargo(&root.path))
}

/// Whether cargo has started to compile the crate `wasmtime` in this directory.
fn has_compiled_wasmtime(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir.join(".fingerprint")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        // Other crates are `wasmtime-environ-`, and so on.
        let name = entry.file_name();
        let hash = name
            .to_str()
            .and_then(|name| name.strip_prefix("wasmtime-"));
        hash.is_some_and(|hash| hash.bytes().all(|c| c.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wasmtime_itself_tells_of_an_earlier_build() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_compiled_wasmtime(dir.path()));
        for (crate_dir, is_it) in [
            // By xtask, in a shared target directory.
            ("xtask-0123456789abcdef", false),
            ("wasmtime-environ-0123456789abcdef", false),
            ("wasmtime-preempt-0123456789abcdef", false),
            ("wasmtime-0123456789abcdef", true),
        ] {
            std::fs::create_dir_all(dir.path().join(".fingerprint").join(crate_dir)).unwrap();
            assert_eq!(has_compiled_wasmtime(dir.path()), is_it, "{crate_dir}");
        }
    }
}
