//! This build of Wasmtime beside the published one.
//!
//! Two builds cannot be in one process. So there is a process of each, both wait
//! to be told what to do, and they are told in turns (`unthreaded.rs` is their
//! end). Where the code of a process happens to lie in memory makes a difference
//! too, so that is done with several pairs of processes.

use crate::paired::{Effort, Spread, Subject, measure};
use crate::piped::Piped;
use crate::report::{Beside, Row};
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
    ("fiber", "fiber, resumed and suspended"),
    ("fiber_inlined", "fiber, resumed and suspended in a loop"),
];

/// How to start this build's program, and the published one's. The number is of the pair.
pub struct Programs {
    pub ours: Box<dyn Fn(usize) -> Command>,
    pub stock: Option<Box<dyn Fn(usize) -> Command>>,
}

/// A process of each.
pub struct Pair {
    pub ours: Piped,
    pub stock: Option<Piped>,
}

/// Measures in so many pairs of processes, one after the other.
pub fn in_pairs(
    programs: &Programs,
    pairs: usize,
    mut measure: impl FnMut(&mut Pair) -> Result<()>,
) -> Result<()> {
    for number in 0..pairs {
        let stock = programs.stock.as_ref();
        let stock = stock.map(|program| Piped::start(&mut program(number)));
        measure(&mut Pair {
            ours: Piped::start(&mut (programs.ours)(number))?,
            stock: stock.transpose()?,
        })?;
    }
    Ok(())
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

/// Rows of all cases, measured in `pairs` of processes. The ratios are a figure for each pair.
pub fn compare(
    ours: &Path,
    stock: &Path,
    pairs: usize,
    effort: Effort,
    aim: f64,
) -> Result<Vec<Row>> {
    let (ours, stock) = (ours.to_path_buf(), stock.to_path_buf());
    let programs = Programs {
        ours: Box::new(move |_| Command::new(&ours)),
        stock: Some(Box::new(move |_| Command::new(&stock))),
    };
    let mut figures = vec![[const { Vec::new() }; 3]; CASES.len()];
    in_pairs(&programs, pairs, |Pair { ours, stock }| {
        let stock = stock.as_mut().context("there is no stock Wasmtime")?;
        for ((case, _), figures) in CASES.iter().zip(&mut figures) {
            let samples = measure(
                &mut [
                    Subject::new("ours", |times| ask(ours, case, times)),
                    Subject::new("stock", |times| ask(stock, case, times)),
                ],
                effort,
            )?;
            figures[0].push(samples[0].median());
            figures[1].push(samples[1].median());
            figures[2].push(samples[0].ratio(&samples[1]).median);
        }
        Ok(())
    })?;
    let rows = CASES.iter().zip(figures);
    let rows = rows.map(|((_, what), [ours, stock, ratio])| {
        let beside = Beside {
            what: "stock".into(),
            figure: Spread::of(stock).median,
            ratio: Spread::of(ratio),
        };
        let ours = (Spread::of(ours).median, "ns");
        Row::new("no guest thread", what, ours, Some(beside), Some(aim))
    });
    Ok(rows.collect())
}

/// Does the case of `unthreaded.rs` in `process`.
pub fn ask(process: &mut Piped, case: &str, times: u64) -> Result<Duration> {
    let answer = process.ask(&format!("{case} {times}"))?;
    let nanos = answer
        .parse::<u64>()
        .with_context(|| format!("`{case}` was answered by `{answer}`"))?;
    Ok(Duration::from_nanos(nanos))
}
