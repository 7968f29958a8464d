//! The commands that build and run something.

use crate::root::{Root, cargo, run as run_command};
use crate::{lint, patches, vendor};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

pub fn test(root: &Root, full: bool, filter: Option<&str>) -> Result<()> {
    let mut workspace = build(root, Profile::Debug)?;
    // Lets tests/docs.rs be strict with the commands that it runs.
    workspace.env("XTASK_TEST", "1");
    workspace.args(["test", "--workspace"]).args(filter);
    // Many tests are about time, and those of epochs need a second OS thread to get
    // the CPU when it wants it.
    workspace.env("RUST_TEST_THREADS", "1");
    if full {
        // With what they print: how much a soak has done.
        workspace.args(["--", "--include-ignored", "--show-output"]);
    }
    run_command(&mut workspace, "`cargo test --workspace`")?;

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

    eprintln!("test: xtask");
    let mut xtask = cargo(&root.path);
    xtask
        .arg("test")
        .arg("--manifest-path")
        .arg(root.xtask_manifest())
        .args(filter);
    run_command(&mut xtask, "`cargo test` of xtask")?;

    eprintln!("test: patches");
    patches::check(root)?;
    if full && filter.is_none() {
        lint::lint(root)?;
    }
    Ok(())
}

pub fn bench(root: &Root, args: &[String]) -> Result<()> {
    let mut bench = build(root, Profile::Release)?;
    bench
        .args(["bench", "--package", "preempt-benches"])
        .args(args);
    run_command(&mut bench, "`cargo bench`")
}

/// What `bench-paper` takes.
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

/// Runs in the directory that this process was started in: files are relative to it.
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

/// What is compiled apart from the rest: a directory of cargo's.
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

/// A cargo command at the root of the repository, with vendor/wasmtime there.
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

/// Whether cargo has begun to compile the crate `wasmtime` in this directory.
fn has_compiled_wasmtime(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir.join(".fingerprint")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        // Others are `wasmtime-environ-`, and so on.
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
            // By xtask, in a target directory that it shares.
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
