//! Spawns guest threads, runs them side by side, and takes what they returned.
//!
//! ```sh
//! cargo run --example spawn
//! ```

use std::time::Duration;
use wasmtime::preempt::TypedExit;
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(module
  ;; 1 + 2 + ... + n
  (func (export "sum") (param $n i64) (result i64)
    (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (local.get $n)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $again (i64.ne (local.get $n) (i64.const 0))))
    (local.get $sum))

  (func (export "divide") (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1))))
"#;

fn main() -> Result<()> {
    // The engine decides what ends a thread's turn. `for_this_host` is the fastest
    // that there is here; `Preemption::Fuel` would make runs repeatable.
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;

    // Guest threads belong to a store. A turn of 1 ms each, round robin.
    let mut store = Store::new(&engine, ());
    store
        .wasm_threads()
        .set_slice(Slice::Time(Duration::from_millis(1)))?;

    // Give each thread an instance of its own: it may be preempted between any two
    // of its instructions, and WebAssembly that is not written for threads does not
    // expect others in its memory.
    let a = Instance::new(&mut store, &module, &[])?;
    let b = Instance::new(&mut store, &module, &[])?;
    let c = Instance::new(&mut store, &module, &[])?;

    // With Rust types for parameters and results...
    let sum = a.get_typed_func::<i64, i64>(&mut store, "sum")?;
    let typed = ThreadOptions::new().spawn_typed(&mut store, &sum, 30_000_000)?;

    // ...or with values whose types are checked when the thread is spawned.
    let sum = b.get_func(&mut store, "sum").expect("an export");
    let untyped = store.spawn_wasm_thread(sum, &[Val::I64(20_000_000)])?;

    // A trap ends its own thread only.
    let divide = c.get_func(&mut store, "divide").expect("an export");
    let options = ThreadOptions::new().name("divider");
    let params = [Val::I32(1), Val::I32(0)];
    let divider = options.spawn(&mut store, divide, &params)?;

    // Nothing has run so far. This runs all of them on this OS thread, until they
    // have finished or the time is up.
    let run = store.run_wasm_threads_for(Duration::from_secs(10))?;
    println!(
        "{:?}: {} threads finished in {} turns",
        run.end, run.finished, run.dispatches
    );

    // How each of them ended waits in the store, to be taken once.
    match typed.take_exit(&mut store) {
        Some(TypedExit::Returned(sum)) => println!("typed: returned {sum}"),
        other => println!("typed: {other:?}"),
    }
    match untyped.take_exit(&mut store) {
        Some(Exit::Returned(values)) => println!("untyped: returned {values:?}"),
        other => println!("untyped: {other:?}"),
    }
    match divider.take_exit(&mut store) {
        Some(Exit::Trapped(error)) => {
            // The error is that of a plain call, with its backtrace.
            println!("divider: trapped, {}", error.root_cause());
        }
        other => println!("divider: {other:?}"),
    }
    Ok(())
}
