//! What guest threads cost, against how many there are: on the stacks of a slab, under fuel.
//!
//! Each number of threads is measured in processes of its own (`src/bin/scale.rs`), as memory that
//! was in use before would be used again. Where there are few threads, the same is repeated.

pub mod fibers;
pub mod instances;
pub mod render;

use self::fibers::Fibers;
use crate::guest::{self, Stacks};
use crate::os;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Module, Preemption, Result, Slice, Store, TypedFunc, ensure};

/// Nanoseconds and bytes for each thread.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub threads: u32,
    /// Time to spawn one, on a stack that nobody had before.
    pub spawn: f64,
    /// To enter it and to suspend it.
    pub first_dispatch: f64,
    /// To resume and to suspend it, when all others were dispatched since.
    pub dispatch: f64,
    /// The same for a bare fiber on a stack of a slab.
    pub fiber: f64,
    /// To spawn one on a stack that was used before.
    pub respawn: f64,
    /// To enter it and to run it to its end.
    pub finish: f64,
    /// To drop its store, where it is suspended.
    pub drop: f64,
    /// Growth of the process's resident memory.
    pub resident: f64,
    /// Growth of the page tables, which are not in `resident`.
    pub page_tables: f64,
}

/// How many dispatches of each thread are timed.
const ROUNDS: u32 = 3;

/// How many threads are measured in all, at least.
const LEAST: u32 = 200_000;

struct Guests {
    engine: Engine,
    module: Module,
}

impl Guests {
    fn new() -> Result<Guests> {
        let engine = guest::engine(Preemption::Fuel, Stacks::Slab)?;
        let module = Module::new(&engine, guest::COUNT)?;
        Ok(Guests { engine, module })
    }

    /// A store for `threads`, and a function that is preempted in each of its rounds.
    fn store(&self, threads: u32) -> Result<(Store<()>, TypedFunc<i64, ()>)> {
        let mut store = Store::new(&self.engine, ());
        store.wasm_threads().set_max_threads(threads as usize)?;
        store.wasm_threads().set_slice(Slice::Fuel(1))?;
        let run = guest::func_of(&mut store, &self.module, &[])?.typed(&store)?;
        Ok((store, run))
    }
}

fn spawn(store: &mut Store<()>, run: &TypedFunc<i64, ()>, n: u32, rounds: i64) -> Result<Duration> {
    let spawn = || (0..n).try_for_each(|_| guest::spawn(store, run, rounds));
    Ok(os::timed(spawn)?.0)
}

/// Spawns `threads`, and runs them to their ends, each in so many dispatches. Returns how long
/// both took.
fn run(
    store: &mut Store<()>,
    run: &TypedFunc<i64, ()>,
    threads: u32,
    dispatches: u32,
) -> Result<(Duration, Duration)> {
    // Each round ends a slice, and what comes after the last one is a dispatch more.
    let (slice, rounds) = match dispatches {
        1 => (i64::MAX as u64, 1),
        more => (1, more - 1),
    };
    store.wasm_threads().set_slice(Slice::Fuel(slice))?;
    let spawned = spawn(store, run, threads, i64::from(rounds))?;
    let (took, dispatched) = guest::finish(store)?;
    let expected = u64::from(threads) * u64::from(dispatches);
    ensure!(
        dispatched == expected,
        "{dispatched} dispatches, and not {expected}"
    );
    Ok((spawned, took))
}

/// Measures all in this process.
pub fn measure(threads: u32) -> Result<Figures> {
    let guests = Guests::new()?;
    // So that code is paged in, and what is made once is there.
    let (mut store, func) = guests.store(16)?;
    for dispatches in [1, 2, ROUNDS] {
        run(&mut store, &func, 16, dispatches)?;
    }
    drop(store);

    let mut figures = Figures {
        threads,
        ..Figures::default()
    };
    suspended(&guests, threads, &mut figures)?;
    finished(&guests, threads, &mut figures)?;
    figures.fiber = Fibers::new(threads)?.switch(LEAST.div_ceil(threads).max(ROUNDS))?;
    Ok(figures)
}

/// Memory, and what is measured once: in a process as it is at its start.
fn suspended(guests: &Guests, threads: u32, figures: &mut Figures) -> Result<()> {
    let each = |time: Duration| time.as_nanos() as f64 / f64::from(threads);
    let (mut store, run) = guests.store(threads)?;
    let before = (os::resident()?, os::page_tables()?);
    figures.spawn = each(spawn(&mut store, &run, threads, i64::MAX)?);
    let least = 2 * u64::from(threads);
    let mut dispatches = 0;
    while dispatches < least {
        let run = store.run_wasm_threads_for(Duration::from_millis(1))?;
        dispatches += run.dispatches;
    }
    let after = (os::resident()?, os::page_tables()?);
    let bytes = |after: u64, before: u64| (after as f64 - before as f64) / f64::from(threads);
    figures.resident = bytes(after.0, before.0);
    figures.page_tables = bytes(after.1, before.1);
    let (took, ()) = os::timed(|| {
        drop(store);
        Ok(())
    })?;
    figures.drop = each(took);
    Ok(())
}

/// What can be repeated.
fn finished(guests: &Guests, threads: u32, figures: &mut Figures) -> Result<()> {
    let (mut store, func) = guests.store(threads)?;
    let times = LEAST.div_ceil(threads);
    let mut spawned = Duration::ZERO;
    let mut took = [Duration::ZERO; 3];
    let most = 2 + ROUNDS;
    for _ in 0..times {
        for (took, n) in took.iter_mut().zip([1, 2, most]) {
            let (spawn, ran) = run(&mut store, &func, threads, n)?;
            *took += ran;
            spawned += spawn;
        }
    }
    let runs = f64::from(times) * f64::from(threads);
    let [one, two, most] = took.map(|took| took.as_nanos() as f64 / runs);
    figures.respawn = spawned.as_nanos() as f64 / runs / 3.0;
    figures.finish = one;
    figures.first_dispatch = two - one;
    figures.dispatch = (most - two) / f64::from(ROUNDS);
    Ok(())
}

/// The medians of what processes of their own measure, which run `exe`.
pub fn in_processes(exe: &Path, threads: u32, processes: usize) -> Result<Figures> {
    let all: Vec<Figures> = (0..processes)
        .map(|_| in_process(exe, threads))
        .collect::<Result<_>>()?;
    let median = |figure: fn(&Figures) -> f64| {
        let mut figures: Vec<f64> = all.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Ok(Figures {
        threads,
        spawn: median(|all| all.spawn),
        first_dispatch: median(|all| all.first_dispatch),
        dispatch: median(|all| all.dispatch),
        fiber: median(|all| all.fiber),
        respawn: median(|all| all.respawn),
        finish: median(|all| all.finish),
        drop: median(|all| all.drop),
        resident: median(|all| all.resident),
        page_tables: median(|all| all.page_tables),
    })
}

fn in_process(exe: &Path, threads: u32) -> Result<Figures> {
    let output = Command::new(exe)
        .arg(threads.to_string())
        // A backtrace for each thread that is ended would be most of what is measured.
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| format!("cannot run {}", exe.display()))?;
    ensure!(
        output.status.success(),
        "{} has failed for {threads} threads: {}",
        exe.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
