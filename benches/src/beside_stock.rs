//! This build of Wasmtime beside the published one.
//!
//! Two builds cannot be in one process. So there is a process of each, both wait
//! to be told what to do, and they are told in turns (`unthreaded.rs` is their
//! end). Where the code of a process happens to lie in memory makes a difference
//! too, so that is done with several pairs of processes.

use crate::paired::{Effort, Spread, Subject, measure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

/// The names of the cases in `unthreaded.rs`, and what they are.
pub const CASES: &[(&str, &str)] = &[
    ("guest_call", "guest call, typed"),
    ("host_call", "host call"),
    ("call_async", "call_async, typed"),
    ("store", "store, made and dropped"),
    ("instantiate", "instance, made"),
    ("fib_plain", "fib(25)"),
    ("fib_fuel", "fib(25), fuel"),
    ("fib_epoch", "fib(25), epoch"),
    ("host_call_fuel", "host call, fuel"),
    ("host_call_epoch", "host call, epoch"),
];

/// One case. The times are nanoseconds, medians over the pairs of processes.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    pub what: &'static str,
    pub ours: f64,
    pub stock: f64,
    /// Ours to stock, one figure for each pair of processes.
    pub ratio: Spread,
}

/// Builds `stock/`, beside the directory that `ours` is in, and returns the
/// program.
pub fn build(ours: &Path) -> Result<PathBuf> {
    let target = ours.parent().and_then(Path::parent);
    let Some(target) = target.map(|target| target.join("stock")) else {
        bail!("{} is not in a target directory", ours.display());
    };
    let program = target.join("release").join("stock");
    if !program.exists() {
        eprintln!("stock: compiling the published Wasmtime, once: 5 to 15 minutes on two cores");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("stock/Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--locked"])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cannot build {}", manifest.display());
    Ok(program)
}

/// Measures all cases in `processes` pairs of processes.
pub fn compare(
    ours: &Path,
    stock: &Path,
    processes: usize,
    effort: Effort,
) -> Result<Vec<Comparison>> {
    let mut figures = vec![[const { Vec::new() }; 3]; CASES.len()];
    for _ in 0..processes {
        let mut ours = Server::start(ours)?;
        let mut stock = Server::start(stock)?;
        for ((case, _), figures) in CASES.iter().zip(&mut figures) {
            let samples = measure(
                &mut [
                    Subject::new("ours", |times| ours.ask(case, times)),
                    Subject::new("stock", |times| stock.ask(case, times)),
                ],
                effort,
            )?;
            figures[0].push(samples[0].median());
            figures[1].push(samples[1].median());
            figures[2].push(samples[0].ratio(&samples[1]).median);
        }
    }
    let comparisons = CASES.iter().zip(figures);
    Ok(comparisons
        .map(|((_, what), [ours, stock, ratio])| Comparison {
            what,
            ours: Spread::of(ours).median,
            stock: Spread::of(stock).median,
            ratio: Spread::of(ratio),
        })
        .collect())
}

/// A process that does cases on demand, until it is dropped.
struct Server {
    process: Child,
    /// `None` once the process was told to end.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &Path) -> Result<Server> {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        let Some(from) = from else {
            bail!("{} has no standard output", program.display());
        };
        Ok(Server {
            process,
            to,
            from: BufReader::new(from),
        })
    }

    fn ask(&mut self, case: &str, times: u64) -> Result<Duration> {
        let Some(to) = &mut self.to else {
            bail!("the process was told to end");
        };
        writeln!(to, "{case} {times}")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let answer = line.trim();
        let nanos = answer
            .parse::<u64>()
            .with_context(|| format!("`{case}` was answered by `{answer}`"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.process.wait();
    }
}
