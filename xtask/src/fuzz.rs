//! Runs the fuzz targets: the workspace in fuzz/, see docs/fuzzing.md.

use crate::root::{Root, cargo, run as run_command};
use crate::vendor;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TARGETS: [&str; 6] = [
    "api",
    "command_line",
    "components",
    "differential",
    "text",
    "wasi_threads",
];

/// The most bytes of an input. Longer ones are slower, and find nothing else.
const MAX_LEN: &str = "-max_len=4096";

/// Seconds after which an input hangs, beside whatever else the machine does.
const TIMEOUT: &str = "-timeout=300";

/// What is compiled in beside the counters of libFuzzer.
#[derive(Clone, Copy, ValueEnum)]
enum Sanitizer {
    /// Memory that is used outside of its bounds, or after it was freed
    Address,
}

/// The options of `fuzz`.
#[derive(Args)]
pub struct FuzzArgs {
    /// The target, instead of one after the other: api, command_line, components,
    /// differential, text or wasi_threads
    target: Option<String>,
    /// For how long to run each
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time: u64,
    /// Run these inputs once each, and nothing else
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "target")]
    input: Vec<PathBuf>,
    /// Add the inputs that cover something new to fuzz/corpus afterwards
    #[arg(long, conflicts_with = "input")]
    keep: bool,
    /// Look for this, too: slower, and compiled once more
    #[arg(long)]
    sanitizer: Option<Sanitizer>,
}

/// Runs all targets for so many seconds each.
pub fn test(root: &Root, seconds: u64) -> Result<()> {
    let programs = build(root, None)?;
    for target in TARGETS {
        Fuzz::new(root, &programs, target)?.run(seconds)?;
    }
    Ok(())
}

pub fn run(root: &Root, args: &FuzzArgs) -> Result<()> {
    let targets = match &args.target {
        None => TARGETS.to_vec(),
        Some(name) => match TARGETS.iter().find(|target| *target == name) {
            Some(target) => vec![*target],
            None => bail!(
                "there is no fuzz target `{name}`: there are {}",
                TARGETS.join(", ")
            ),
        },
    };
    let programs = build(root, args.sanitizer)?;
    for target in targets {
        let fuzz = Fuzz::new(root, &programs, target)?;
        match &args.input[..] {
            [] => fuzz.run(args.time)?,
            inputs => fuzz.replay(inputs)?,
        }
        if args.keep {
            fuzz.keep()?;
        }
    }
    Ok(())
}

/// Compiles all targets. Returns where they are.
fn build(root: &Root, sanitizer: Option<Sanitizer>) -> Result<PathBuf> {
    vendor::ensure(root)?;
    let fuzz = root.fuzz();
    let target = root.target()?.join(match sanitizer {
        None => "fuzz",
        Some(Sanitizer::Address) => "fuzz-asan",
    });
    if !target.join("debug").is_dir() {
        eprintln!("fuzz: the first build compiles Wasmtime once more, 10 to 20 minutes");
    }
    let mut build = cargo(&root.path);
    build
        .args(["build", "--locked", "--bins", "--manifest-path"])
        .arg(fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTC_WRAPPER", fuzz.join("rustc"));
    if let Some(Sanitizer::Address) = sanitizer {
        build.env("PREEMPT_SANITIZER", "address");
    }
    run_command(&mut build, "`cargo build` of fuzz")?;
    Ok(target.join("debug"))
}

/// A target, and where its inputs are.
struct Fuzz {
    program: PathBuf,
    /// In the repository.
    corpus: PathBuf,
    /// Not in the repository: everything that has covered something new.
    found: PathBuf,
    failures: PathBuf,
}

impl Fuzz {
    fn new(root: &Root, programs: &Path, target: &str) -> Result<Fuzz> {
        let found = root.target()?.join("fuzz/corpus").join(target);
        let failures = root.target()?.join("fuzz/failures").join(target);
        for dir in [&found, &failures] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(Fuzz {
            program: programs.join(target),
            corpus: root.fuzz().join("corpus").join(target),
            found,
            failures,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([TIMEOUT, "-rss_limit_mb=4096"])
            .arg(format!("-artifact_prefix={}/", self.failures.display()));
        command
    }

    fn run(&self, seconds: u64) -> Result<()> {
        let mut command = self.command();
        command
            .args([MAX_LEN, "-print_final_stats=1", "-reload=0"])
            .arg(format!("-max_total_time={seconds}"))
            .args([&self.found, &self.corpus]);
        self.to_the_end(command)
    }

    fn replay(&self, inputs: &[PathBuf]) -> Result<()> {
        let mut command = self.command();
        command.args(inputs);
        self.to_the_end(command)
    }

    fn keep(&self) -> Result<()> {
        let mut command = self.command();
        command
            // The fewest that cover each branch, and not how often.
            .args([MAX_LEN, "-set_cover_merge=1", "-use_counters=0"])
            .args([&self.corpus, &self.found]);
        self.to_the_end(command)
    }

    fn to_the_end(&self, mut command: Command) -> Result<()> {
        eprintln!("fuzz: {command:?}");
        run_command(
            &mut command,
            &format!(
                "the fuzz target (a failing input is in {})",
                self.failures.display()
            ),
        )
    }
}
