//! Runs a C program with threads, which knows nothing of this: producers and consumers
//! over a mutex and two condition variables.
//!
//! ```sh
//! cargo run --example pthreads
//! ```

use std::time::Duration;
use wasmtime_preempt::wasi_threads::{ProcessOptions, Program};
use wasmtime_preempt::wasmtime::*;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};

const QUEUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/threads/queue.wasm");

fn main() -> Result<()> {
    let mut config = Config::new();
    config
        .preemption(Preemption::for_this_host())
        .shared_memory(true);
    let engine = Engine::new(&config)?;
    let module = Module::from_file(&engine, QUEUE)?;

    // What the program imports beside its memory and `thread-spawn`: WASI.
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&["queue", "4", "4", "20000"]).inherit_stdout();

    // A process is a thread that calls `_start`, and those that it starts: all of them
    // guest threads of this store, here in turns of 1 ms.
    let program = Program::new(&module, &linker)?;
    let mut store = Store::new(&engine, wasi.build_p1());
    store
        .wasm_threads()
        .set_slice(Slice::Time(Duration::from_millis(1)))?;
    let process = program.spawn(&mut store, ProcessOptions::new().name("queue"))?;

    // They wait for each other all the time, and this OS thread for none of them.
    let run = store.run_wasm_threads_for(Duration::from_secs(30))?;
    println!(
        "{:?}: {} threads finished in {} turns, of which {} were cut short",
        run.end, run.finished, run.dispatches, run.preemptions
    );
    let stats = process.stats();
    println!(
        "{} threads at a time, in {} instances",
        stats.most_threads, stats.instances
    );
    match process.outcome().as_deref() {
        // `proc_exit` would be an error here, that is an `I32Exit`.
        Some(outcome) => println!("ended by thread {}: {:?}", outcome.tid, outcome.exit),
        None => println!("has not ended"),
    }
    Ok(())
}
