//! Somebody else notifies: an OS thread, or a guest of another store.

use crate::support::*;
use preempt_wasi_threads::{Process, ProcessOptions};
use std::thread;
use wasmtime::*;

/// Three threads and main wait for the word at 8 to be what it is not.
const WAITERS: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (func $wait
        (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
        (drop (i32.atomic.rmw.add (i32.const 12) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 12) (i32.const 1))))
    (func (export "_start") (local $seen i32)
        (drop (call $spawn (i32.const 0)))
        (drop (call $spawn (i32.const 0)))
        (drop (call $spawn (i32.const 0)))
        (call $wait)
        (loop $again
            (drop (memory.atomic.wait32 (i32.const 12) (local.get $seen) (i64.const -1)))
            (local.set $seen (i32.atomic.load (i32.const 12)))
            (br_if $again (i32.lt_u (local.get $seen) (i32.const 4)))))
    (func (export "wasi_thread_start") (param i32 i32) (call $wait)))"#;

fn waiters(engine: &Engine) -> (Store<()>, Process) {
    let mut store = Store::new(engine, ());
    let options = ProcessOptions::new().notified_from_outside(true);
    let process = spawn_wat(&mut store, WAITERS, options);
    (store, process)
}

#[test]
fn an_os_thread_notifies() {
    for source in sources() {
        let (mut store, process) = waiters(&engine(source));
        let memory = process.memory().unwrap().clone();
        let notifier = thread::spawn(move || {
            let mut woken = 0;
            while woken < 4 {
                woken += memory.atomic_notify(8, 1).unwrap();
                thread::sleep(ms(1));
            }
        });
        let run = store.run_wasm_threads_for(LONG).unwrap();
        notifier.join().unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert_eq!(word(&process, 12), 4);
    }
}

#[test]
fn a_guest_of_another_store_notifies() {
    for source in sources() {
        let engine = engine(source);
        let (mut store, process) = waiters(&engine);
        let memory = process.memory().unwrap().clone();
        let wat = r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (func (export "run") (result i32) (local $woken i32)
                (loop $again
                    (local.set $woken (i32.add (local.get $woken)
                        (memory.atomic.notify (i32.const 8) (i32.const 1))))
                    (br_if $again (i32.lt_u (local.get $woken) (i32.const 4))))
                (local.get $woken)))"#;
        let other_engine = engine.clone();
        let notifier = thread::spawn(move || {
            let module = Module::new(&other_engine, wat).unwrap();
            let mut store = Store::new(&other_engine, ());
            let instance = Instance::new(&mut store, &module, &[memory.into()]).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            let id = store.spawn_wasm_thread(run, &[]).unwrap();
            let run = store.run_wasm_threads_for(LONG).unwrap();
            assert_eq!(run.end, RunEnd::AllFinished);
            match id.take_exit(&mut store) {
                Some(Exit::Returned(values)) => values[0].unwrap_i32(),
                exit => panic!("{exit:?}"),
            }
        });
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(notifier.join().unwrap(), 4);
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    }
}

/// Without it being said that somebody may notify, that is a deadlock at once; and a
/// notification after that is not lost.
#[test]
fn a_deadlock_is_reported_instead_and_nothing_is_lost() {
    for source in sources() {
        let mut store = Store::new(&engine(source), ());
        let process = spawn_wat(&mut store, WAITERS, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!((run.end, run.deadlocked.len()), (RunEnd::Deadlock, 4));
        let memory = process.memory().unwrap();
        assert_eq!(memory.atomic_notify(8, u32::MAX).unwrap(), 4, "{source}");
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    }
}
