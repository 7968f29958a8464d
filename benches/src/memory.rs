//! What a suspended guest thread keeps resident.
//!
//! Measured in a process that does nothing else (`src/bin/memory.rs`), as memory
//! that was in use before would be used again.

use crate::guest::{self, Stacks};
use crate::os;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Func, Module, Preemption, Result, Slice, Store, ensure};

/// What was measured, each figure divided by the number of threads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub threads: u32,
    /// Growth of the process's resident memory, in bytes per thread.
    pub resident: f64,
    /// Growth of the kernel's page tables, which are not in `resident`, in bytes
    /// per thread.
    pub page_tables: f64,
    /// Nanoseconds of CPU time per thread to end them all.
    pub shutdown: f64,
}

/// Whether threads have an instance of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    One,
    Each,
}

/// Suspends `threads` threads in the middle of a loop.
pub fn measure(threads: u32, stacks: Stacks, instances: Instances) -> Result<Figures> {
    let engine = guest::engine(Preemption::Fuel, stacks)?;
    let module = Module::new(&engine, guest::SPIN)?;
    // So that code is paged in, and what is made once is there.
    suspended(&engine, &module, 16, instances)?.shutdown_wasm_threads();

    let before = (os::resident()?, os::page_tables()?);
    let mut store = suspended(&engine, &module, threads, instances)?;
    let after = (os::resident()?, os::page_tables()?);

    for thread in store.wasm_threads().iter() {
        let stats = thread.stats;
        ensure!(
            stats.dispatches >= 2 && stats.preemptions == stats.dispatches,
            "a thread is not suspended in its loop: {thread:?}"
        );
    }
    let (shutdown, ended) = os::timed(|| Ok(store.shutdown_wasm_threads()))?;
    ensure!(
        ended == threads as usize,
        "{ended} threads were there to be ended, and not {threads}"
    );
    let each = |figure: f64| figure / f64::from(threads);
    Ok(Figures {
        threads,
        resident: each(after.0 as f64 - before.0 as f64),
        page_tables: each(after.1 as f64 - before.1 as f64),
        shutdown: each(shutdown.as_nanos() as f64),
    })
}

/// A store with so many threads that have had two slices each.
fn suspended(
    engine: &Engine,
    module: &Module,
    threads: u32,
    instances: Instances,
) -> Result<Store<()>> {
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_slice(Slice::Fuel(100))?;
    let mut run: Option<Func> = None;
    for _ in 0..threads {
        let run = match run {
            Some(run) if instances == Instances::One => run,
            _ => *run.insert(guest::func_of(&mut store, module, &[])?),
        };
        store.spawn_wasm_thread(run, &[])?;
    }
    let mut slices = 0;
    while slices < 2 * u64::from(threads) {
        slices += store
            .run_wasm_threads_for(Duration::from_millis(1))?
            .preemptions;
    }
    Ok(store)
}

/// [`measure`] in a process of its own, which runs `exe`.
pub fn in_process(exe: &Path, threads: u32, stacks: &str, instances: &str) -> Result<Figures> {
    let output = Command::new(exe)
        .args([&threads.to_string(), stacks, instances])
        .output()
        .with_context(|| format!("cannot run {}", exe.display()))?;
    ensure!(
        output.status.success(),
        "{} has failed: {}",
        exe.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
