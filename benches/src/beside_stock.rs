//! This build of Wasmtime beside the published one.
//!
//! Two builds cannot be in one process. So there is a process of each, both wait
//! to be told what to do, and they are told in turns (`unthreaded.rs` is their
//! end). Where the code of a process happens to lie in memory makes a difference
//! too, so that is done with several pairs of processes.

use crate::paired::{Effort, Spread, Subject, measure};
use crate::piped::Piped;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Builds `stock/`, beside the directory that `ours` is in, and returns its program
/// `name`.
pub fn build(ours: &Path, name: &str) -> Result<PathBuf> {
    let target = ours.parent().and_then(Path::parent);
    let Some(target) = target.map(|target| target.join("stock")) else {
        bail!("{} is not in a target directory", ours.display());
    };
    let programs = target.join("release");
    if !programs.exists() {
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
    ensure!(
        status.success(),
        "cannot build the published Wasmtime: what cargo says above is about {}, which \
         needs the crates that its Cargo.lock names, from the registry or cargo's cache",
        manifest.display()
    );
    Ok(programs.join(name))
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
        let mut ours = Piped::start(&mut Command::new(ours))?;
        let mut stock = Piped::start(&mut Command::new(stock))?;
        for ((case, _), figures) in CASES.iter().zip(&mut figures) {
            let samples = measure(
                &mut [
                    Subject::new("ours", |times| ask(&mut ours, case, times)),
                    Subject::new("stock", |times| ask(&mut stock, case, times)),
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

fn ask(process: &mut Piped, case: &str, times: u64) -> Result<Duration> {
    let answer = process.ask(&format!("{case} {times}"))?;
    let nanos = answer
        .parse::<u64>()
        .with_context(|| format!("`{case}` was answered by `{answer}`"))?;
    Ok(Duration::from_nanos(nanos))
}
