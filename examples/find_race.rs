//! Finds a lost update between two guests that share a memory, and makes it happen
//! again whenever it is asked to.
//!
//! ```sh
//! cargo run --example find_race
//! ```

use std::time::Duration;
use wasmtime::preempt::ThreadScheduler;
use wasmtime_preempt::policies::{Pct, Recorder, Replay, RoundRobin, Schedule};
use wasmtime_preempt::wasmtime::*;

/// Each guest adds 1 to a shared counter now and then, four times. But another one
/// may do so between its load and its store: the bug. `i32.atomic.rmw.add` would be
/// right.
///
/// Fuel preempts a guest where a function or the turn of a loop begins: here in
/// `$plus_one`, at worst.
const GUEST: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))

  (func $plus_one (param i32) (result i32)
    (i32.add (local.get 0) (i32.const 1)))

  (func $other_work
    (local $turns i32)
    (local.set $turns (i32.const 20))
    (loop $again
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $again (local.get $turns))))

  (func (export "add")
    (local $left i32)
    (local.set $left (i32.const 4))
    (loop $again
      (call $other_work)
      (i32.store (i32.const 0) (call $plus_one (i32.load (i32.const 0))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left))))

  (func (export "value") (result i32)
    (i32.atomic.load (i32.const 0))))
"#;

/// What the counter should be in the end.
const RIGHT: i32 = 8;

fn main() -> Result<()> {
    // Under fuel a run is determined by the guests, their input and the policy: so
    // a policy's seed, or its picks, are all that it takes to repeat one.
    let mut config = Config::new();
    config.preemption(Preemption::Fuel).shared_memory(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;

    // The bug hides from tests that run the guests in the usual way.
    let (value, _) = run(&engine, &module, RoundRobin::new(), 10_000)?;
    println!("round robin, long slices: {value} of {RIGHT}");

    // Probabilistic concurrency testing: threads have random priorities, which change
    // at random moments, here of some 200. This bug is of depth 2, which is to say
    // that two events have to come in one particular order.
    println!(
        "at least one seed in {} finds it",
        Pct::new(0, 2, 200, 2).one_in()
    );
    for seed in 0..10_000 {
        let policy = Recorder::new(Pct::new(seed, 2, 200, 2));
        let (value, mut store) = run(&engine, &module, policy, 1)?;
        if value == RIGHT {
            continue;
        }
        println!("seed {seed}: {value} of {RIGHT}, so an update was lost");

        // The picks are a text to keep beside the bug report.
        let recorder = store.wasm_threads().scheduler_mut::<Recorder<Pct>>();
        let schedule = recorder.expect("it was set").take_schedule();
        let text = schedule.to_string();
        print!("{text}");
        return replay(&engine, &module, &text, value);
    }
    println!("no seed has found it");
    Ok(())
}

/// Makes the same picks again: the same bug, every time.
fn replay(engine: &Engine, module: &Module, schedule: &str, found: i32) -> Result<()> {
    let schedule: Schedule = schedule.parse()?;
    for _ in 0..3 {
        let policy = Replay::new(schedule.clone());
        let (value, mut store) = run(engine, module, policy, 1)?;
        let replay = store.wasm_threads().scheduler_mut::<Replay>();
        match replay.expect("it was set").divergence() {
            // Of guests that were changed since, for instance.
            Some(divergence) => println!("replayed: {divergence}"),
            None if value == found => println!("replayed: {value} of {RIGHT} again"),
            None => println!("replayed: {value} of {RIGHT}, not {found}"),
        }
    }
    Ok(())
}

/// Runs two guests over a new memory. Returns what the counter is then.
fn run(
    engine: &Engine,
    module: &Module,
    policy: impl ThreadScheduler,
    slice: u64,
) -> Result<(i32, Store<()>)> {
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_slice(Slice::Fuel(slice))?;
    store.wasm_threads().set_scheduler(policy)?;
    let memory = SharedMemory::new(engine, MemoryType::shared(1, 1))?;
    let imports = [Extern::SharedMemory(memory)];
    for _ in 0..2 {
        let instance = Instance::new(&mut store, module, &imports)?;
        let add = instance.get_func(&mut store, "add").expect("an export");
        store.spawn_wasm_thread(add, &[])?;
    }
    store.run_wasm_threads_for(Duration::MAX)?;

    let instance = Instance::new(&mut store, module, &imports)?;
    let value = instance.get_typed_func::<(), i32>(&mut store, "value")?;
    Ok((value.call(&mut store, ())?, store))
}
