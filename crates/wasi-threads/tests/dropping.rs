//! A store that is dropped takes its processes along, wherever they are.

use crate::support::*;
use preempt_wasi_threads::ProcessOptions;
use wasmtime::*;

#[test]
fn a_store_is_dropped_while_threads_wait_and_spin() {
    for source in sources() {
        let engine = engine(source);
        let modules = ["exit", "deadlock", "spin", "queue"].map(|name| fixture(&engine, name));
        for time in [0, 1, 5, 20] {
            let mut store = store(&engine);
            store.wasm_threads().set_slice(short_slice(source)).unwrap();
            let spawn = |module| spawn(&mut store, module, &["return"], ProcessOptions::new());
            let guests: Vec<Guest> = modules[..2].iter().map(spawn).collect();
            let spawn =
                |module| super::support::spawn(&mut store, module, &[], ProcessOptions::new());
            let more: Vec<Guest> = modules[2..].iter().map(spawn).collect();
            store.run_wasm_threads_for(ms(time)).unwrap();
            drop(store);
            for guest in guests.iter().chain(&more) {
                assert!(guest.process.has_ended(), "{source}: {:?}", guest.process);
                assert!(guest.process.outcome().is_some());
                guest.process.kill();
            }
        }
    }
}

#[test]
fn a_process_is_dropped_and_goes_on() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let module = fixture(&engine, "churn");
        drop(spawn(&mut store, &module, &["100"], ProcessOptions::new()));
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 101));
    }
}

/// What the process holds is freed with the store.
#[test]
fn nothing_is_kept_by_a_cycle() {
    let engine = engine(Preemption::Fuel);
    let alive = std::sync::Arc::new(());
    let token = alive.clone();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("host", "hold", move || {
            let _ = &token;
        })
        .unwrap();
    let wat = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (import "host" "hold" (func))
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (func (export "_start") (drop (call $spawn (i32.const 0))) (loop br 0))
        (func (export "wasi_thread_start") (param i32 i32) (loop br 0)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let program = preempt_wasi_threads::Program::new(&module, &linker).unwrap();
    let mut store = Store::new(&engine, ());
    store.wasm_threads().set_slice(Slice::Fuel(1_000)).unwrap();
    let process = program.spawn(&mut store, ProcessOptions::new()).unwrap();
    store.run_wasm_threads_for(ms(10)).unwrap();
    drop((program, linker, store));
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    assert!(process.has_ended());
}
