//! What a suspended guest thread keeps resident, and what spawning, running and ending many takes.
//!
//! Measured in a process that does nothing else (`src/bin/memory.rs`), as memory
//! that was in use before would be used again.

use crate::guest::{self, Stacks};
use crate::os;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wasmtime::component::{Component, InstancePre, Linker, TypedFunc};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Func, Module, Preemption, Result, Slice, Store, ThreadOptions, ensure};

/// What was measured, each figure divided by the number of threads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub threads: u32,
    /// Growth of the process's resident memory, in bytes per thread.
    pub resident: f64,
    /// Growth of the kernel's page tables, which are not in `resident`, in bytes
    /// per thread.
    pub page_tables: f64,
    /// Nanoseconds of CPU time per thread to spawn them all, in instances that are there.
    pub spawn: f64,
    /// Nanoseconds of CPU time per dispatch, with its slice of [`SLICE`], while all of them take
    /// turns: what a thread needs has long left the caches when it is its turn.
    pub dispatch: f64,
    /// Nanoseconds of CPU time per thread to end them all.
    pub shutdown: f64,
}

/// What threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// All run one instance of a module.
    OneInstance,
    /// Each runs an instance of its own.
    Instances,
    /// Each runs an instance of a component.
    Components,
}

/// In units of fuel: a few turns of a loop.
const SLICE: u64 = 100;

/// Suspends `threads` threads in the middle of a loop.
pub fn measure(threads: u32, stacks: Stacks, guests: Guests) -> Result<Figures> {
    let engine = guest::engine(Preemption::Fuel, stacks)?;
    let guests = Compiled::new(&engine, guests)?;
    // So that code is paged in, and what is made once is there.
    suspended(&engine, &guests, 16)?.0.shutdown_wasm_threads();

    let before = (os::resident()?, os::page_tables()?);
    let (mut store, spawn) = suspended(&engine, &guests, threads)?;
    let after = (os::resident()?, os::page_tables()?);
    let (time, dispatches) = os::timed(|| run_slices(&mut store, u64::from(threads)))?;
    let dispatch = time.as_nanos() as f64 / dispatches as f64;

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
        spawn: each(spawn.as_nanos() as f64),
        dispatch,
        shutdown: each(shutdown.as_nanos() as f64),
    })
}

/// A store with so many threads that have had two slices each, and how long spawning them took.
fn suspended(engine: &Engine, guests: &Compiled, threads: u32) -> Result<(Store<()>, Duration)> {
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_max_threads(threads as usize)?;
    store.wasm_threads().set_slice(Slice::Fuel(SLICE))?;
    let functions = guests.functions(&mut store, threads)?;
    let (spawn, ()) = os::timed(|| functions.spawn(&mut store))?;
    run_slices(&mut store, 2 * u64::from(threads))?;
    Ok((store, spawn))
}

/// Runs until threads have used up this many slices or a few more. Returns how many.
fn run_slices(store: &mut Store<()>, least: u64) -> Result<u64> {
    let mut slices = 0;
    while slices < least {
        let run = store.run_wasm_threads_for(Duration::from_millis(1))?;
        slices += run.preemptions;
    }
    Ok(slices)
}

enum Compiled {
    OneInstance(Module),
    Instances(Module),
    Components(InstancePre<()>),
}

impl Compiled {
    fn new(engine: &Engine, guests: Guests) -> Result<Compiled> {
        let module = || Module::new(engine, guest::SPIN);
        Ok(match guests {
            Guests::OneInstance => Compiled::OneInstance(module()?),
            Guests::Instances => Compiled::Instances(module()?),
            Guests::Components => {
                let component = Component::new(engine, guest::SPIN_COMPONENT)?;
                Compiled::Components(Linker::new(engine).instantiate_pre(&component)?)
            }
        })
    }

    /// One for each thread.
    fn functions(&self, store: &mut Store<()>, threads: u32) -> Result<Functions> {
        Ok(match self {
            Compiled::OneInstance(module) => {
                let run = guest::func_of(store, module, &[])?;
                Functions::OfModules(vec![run; threads as usize])
            }
            Compiled::Instances(module) => {
                let run = |_| guest::func_of(store, module, &[]);
                Functions::OfModules((0..threads).map(run).collect::<Result<_>>()?)
            }
            Compiled::Components(pre) => {
                let run = |_| {
                    let instance = pre.instantiate(&mut *store)?;
                    instance.get_typed_func(&mut *store, "run")
                };
                Functions::OfComponents((0..threads).map(run).collect::<Result<_>>()?)
            }
        })
    }
}

enum Functions {
    OfModules(Vec<Func>),
    OfComponents(Vec<TypedFunc<(), ()>>),
}

impl Functions {
    fn spawn(&self, store: &mut Store<()>) -> Result<()> {
        match self {
            Functions::OfModules(functions) => {
                for run in functions {
                    store.spawn_wasm_thread(*run, &[])?;
                }
            }
            Functions::OfComponents(functions) => {
                for run in functions {
                    ThreadOptions::new().spawn_component_typed(&mut *store, run, ())?;
                }
            }
        }
        Ok(())
    }
}

/// [`measure`] in a process of its own, which runs `exe`.
pub fn in_process(exe: &Path, threads: u32, stacks: &str, guests: &str) -> Result<Figures> {
    let output = Command::new(exe)
        .args([&threads.to_string(), stacks, guests])
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
