//! An instance with a memory for each of many threads: how many there can be in a store, and what
//! each takes.

use crate::guest::{self, SLAB_STACK};
use crate::os;
use crate::table::{Table, nanos};
use preempt_stacks::StackSlab;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Engine, Instance, Module, Preemption, Result, Slice, Store, StoreLimits,
    StoreLimitsBuilder, ensure,
};

/// Has a memory of a page, writes to it, and never ends.
const GUEST: &str = r#"(module (memory 1)
    (func (export "run") (loop (i32.store (i32.const 0) (i32.const 1)) (br 0))))"#;

/// What address space a memory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memories {
    /// 4 GiB, and guards.
    Default,
    /// As much as it has, without guards: it moves when it grows.
    Exact,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// How many threads, each with its instance, there are.
    pub threads: u32,
    /// Why there are no more, if they are fewer than asked for.
    pub error: Option<String>,
    /// Nanoseconds to make an instance, and to spawn a thread in it.
    pub spawn: f64,
    /// Nanoseconds for a dispatch, when all others were dispatched since.
    pub dispatch: f64,
    /// Bytes for each.
    pub resident: f64,
    pub page_tables: f64,
    /// Of the whole process.
    pub mappings: usize,
}

impl Memories {
    pub const ALL: [(&'static str, Memories); 2] =
        [("default", Memories::Default), ("exact", Memories::Exact)];

    fn configure(self, config: &mut Config) {
        if self == Memories::Exact {
            config
                .memory_reservation(0)
                .memory_reservation_for_growth(0)
                .memory_guard_size(0)
                .memory_init_cow(false);
        }
    }
}

/// As many threads as there can be, and `most` at most.
pub fn measure(most: u32, memories: Memories) -> Result<Figures> {
    let mut config = Config::new();
    config.preemption(Preemption::Fuel);
    StackSlab::new(SLAB_STACK)?.configure(&mut config);
    memories.configure(&mut config);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    let all = most as usize;
    let limits = StoreLimitsBuilder::new();
    let limits = limits.instances(all).memories(all).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits: &mut StoreLimits| limits);
    store.wasm_threads().set_max_threads(all)?;
    store.wasm_threads().set_slice(Slice::Fuel(1))?;
    let before = (os::resident()?, os::page_tables()?);
    let mut figures = Figures::default();
    let (took, ()) = os::timed(|| {
        while figures.threads < most {
            if let Err(error) = spawn(&mut store, &module) {
                figures.error = Some(format!("{error:#}"));
                break;
            }
            figures.threads += 1;
        }
        Ok(())
    })?;
    let threads = f64::from(figures.threads);
    figures.spawn = took.as_nanos() as f64 / threads;
    let mut rounds = |rounds: u64| -> Result<f64> {
        let mut dispatches = 0;
        let (took, ()) = os::timed(|| {
            while dispatches < rounds * u64::from(figures.threads) {
                let run = store.run_wasm_threads_for(Duration::from_millis(1))?;
                dispatches += run.dispatches;
            }
            Ok(())
        })?;
        Ok(took.as_nanos() as f64 / dispatches as f64)
    };
    rounds(2)?;
    figures.dispatch = rounds(3)?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / threads;
    figures.resident = each(os::resident()?, before.0);
    figures.page_tables = each(os::page_tables()?, before.1);
    let maps = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    figures.mappings = maps.lines().count();
    Ok(figures)
}

fn spawn(store: &mut Store<StoreLimits>, module: &Module) -> Result<()> {
    let instance = Instance::new(&mut *store, module, &[])?;
    let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
    guest::spawn(store, &run, ())
}

/// A table of what processes of their own measure, which run `exe`.
pub fn table(exe: &Path, most: u32) -> Result<String> {
    let header = [
        "memories",
        "threads",
        "instance, spawn",
        "dispatch",
        "resident",
        "page tables",
        "mappings",
    ];
    let mut table = Table::new(header, 1, &[0]);
    let mut errors = String::new();
    for (name, _) in Memories::ALL {
        let output = Command::new(exe)
            .args([&most.to_string(), name])
            .output()
            .with_context(|| format!("cannot run {}", exe.display()))?;
        ensure!(
            output.status.success(),
            "{} has failed for {name}: {}",
            exe.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let figures: Figures = serde_json::from_slice(&output.stdout)?;
        let kib = |bytes: f64| format!("{:.2} KiB", bytes / 1024.0);
        table.add([
            name.to_string(),
            figures.threads.to_string(),
            nanos(figures.spawn as u64),
            nanos(figures.dispatch as u64),
            kib(figures.resident),
            kib(figures.page_tables),
            figures.mappings.to_string(),
        ]);
        if let Some(error) = figures.error {
            errors += &format!("\n{name}: {error}\n");
        }
    }
    Ok(format!("{table}\n{errors}"))
}
