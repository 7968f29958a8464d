//! The end of a process is the end of all its threads, whichever way it comes.

use crate::support::*;
use preempt_wasi_threads::{ProcessOptions, Tid};
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn main_returns() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "exit");
        let guest = run(&engine, &module, &["return"], short_slice(source));
        assert_eq!(guest.end(), ("returns".to_string(), 0), "{source}");
        assert_eq!(guest.outcome().tid, Tid::MAIN);
        assert_eq!(guest.outcome().thread, guest.process.main());
        assert_eq!(guest.process.stats().started, 4);
    }
}

#[test]
fn a_thread_exits() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "exit");
        for (args, status) in [(&["exit"][..], 7), (&["exit", "42"], 42)] {
            let guest = run(&engine, &module, args, short_slice(source));
            assert_eq!(guest.end(), ("exits".to_string(), status), "{source}");
            assert_eq!(guest.outcome().tid.as_u32(), 5, "{source}");
        }
    }
}

#[test]
fn a_thread_traps() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "exit");
        let guest = run(&engine, &module, &["trap"], short_slice(source));
        let outcome = guest.outcome();
        let error = outcome.error().unwrap();
        assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
        assert!(error.is::<WasmBacktrace>(), "{source}");
        assert_eq!(
            (guest.last_line(), outcome.tid.as_u32()),
            ("traps".into(), 5)
        );
        assert!(guest.process.has_ended(), "{source}");
    }
}

/// Counts up to `$n` in a thread, and ends the process then in main, which the others must
/// not see.
const COUNTS: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (func (export "_start")
        (drop (call $spawn (i32.const 0)))
        (drop (call $spawn (i32.const 4)))
        (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const 20000000))))
    (func (export "wasi_thread_start") (param i32) (param $at i32)
        (loop $again
            (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
            (br $again))))"#;

#[test]
fn nothing_of_it_runs_afterwards() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let process = spawn_wat(&mut store, COUNTS, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished);
        assert_eq!(run.finished, 3, "{source}");
        let outcome = process.outcome().unwrap();
        assert!(matches!(outcome.exit, Exit::Returned(_)), "{outcome:?}");
    }
}

/// Under fuel, what the siblings of a thread that ends the process do is known exactly:
/// nothing.
#[test]
fn no_sibling_is_dispatched_after_the_end() {
    let engine = engine(Preemption::Fuel);
    let mut store = Store::new(&engine, ());
    store
        .wasm_threads()
        .set_slice(Slice::Fuel(1_000_000))
        .unwrap();
    store.wasm_threads().set_trace(1_000).unwrap();
    let wat = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (func (export "_start") (drop (call $spawn (i32.const 0))))
        (func (export "wasi_thread_start") (param i32 i32)
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
            (loop br 0)))"#;
    let process = spawn_wat(&mut store, wat, ProcessOptions::new());
    let run = store.run_wasm_threads_for(LONG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    assert!(process.has_ended());
    assert_eq!(word(&process, 0), 0, "the thread has run: {run:?}");
    assert_eq!(run.dispatches, 1);
}

#[test]
fn a_process_is_killed_while_its_threads_spin_and_wait() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "exit");
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let wat = r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func $wait (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))
            (func (export "_start")
                (drop (call $spawn (i32.const 0)))
                (drop (call $spawn (i32.const 1)))
                (call $wait))
            (func (export "wasi_thread_start") (param i32) (param $spin i32)
                (if (local.get $spin) (then (loop (br 0))))
                (call $wait)))"#;
        let module_of_waiters = Module::new(&engine, wat).unwrap();
        let guest = spawn(&mut store, &module_of_waiters, &[], ProcessOptions::new());
        let other = spawn(&mut store, &module, &["return"], ProcessOptions::new());
        run_until(&mut store, || guest.process.threads().len() == 3);

        // From another OS thread, while a run is on.
        let process = guest.process.clone();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(ms(30));
            process.kill();
        });
        let run = store.run_wasm_threads_for(LONG).unwrap();
        killer.join().unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(guest.process.has_ended());
        assert!(matches!(guest.outcome().exit, Exit::Killed));
        assert_eq!(other.end(), ("returns".to_string(), 0));
        // Nobody is left in the queue of the atomic.
        let memory = guest.process.memory().unwrap();
        assert_eq!(memory.atomic_notify(8, u32::MAX).unwrap(), 0, "{source}");
        // Of no effect.
        guest.process.kill();
        store.run_wasm_threads_for(LONG).unwrap();
    }
}

#[test]
fn the_kill_of_one_thread_is_the_end_of_all() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let module = fixture(&engine, "deadlock");
        let guest = spawn(&mut store, &module, &[], ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::Deadlock);
        // While it waits for an atomic.
        let (tid, victim) = guest.process.threads()[2];
        victim.kill(&mut store).unwrap();
        let outcome = guest.outcome();
        assert_eq!((outcome.tid, outcome.thread), (tid, victim));
        assert!(matches!(outcome.exit, Exit::Killed));
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(guest.process.has_ended());
    }
}

#[test]
fn a_thread_that_is_over_its_limit_ends_the_process() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let module = fixture(&engine, "deadlock");
        let threads = ThreadOptions::new().timeout(ms(50));
        let options = ProcessOptions::new().threads(threads);
        let guest = spawn(&mut store, &module, &[], options);
        // Two runs, as one ends when all are stuck.
        for _ in 0..2 {
            store.run_wasm_threads_for(ms(100)).unwrap();
            std::thread::sleep(ms(60));
        }
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        let outcome = guest.outcome();
        assert!(matches!(outcome.exit, Exit::OverLimit(_)), "{outcome:?}");
        assert!(guest.process.has_ended());
    }
}

#[test]
fn a_shutdown_ends_it() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let module = fixture(&engine, "deadlock");
        let guest = spawn(&mut store, &module, &[], ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(store.shutdown_wasm_threads(), 3);
        assert!(guest.process.has_ended());
        assert!(matches!(guest.outcome().exit, Exit::Killed));
        assert_eq!(store.wasm_threads().iter().count(), 0);
        // The store is as good as before.
        let module = fixture(&engine, "hello");
        let guest = spawn(&mut store, &module, &[], ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(
            (run.end, guest.status()),
            (RunEnd::AllFinished, 0),
            "{source}"
        );
    }
}
