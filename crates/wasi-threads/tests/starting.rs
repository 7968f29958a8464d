//! Each instance is started by the thread that uses it: what a start function does, its
//! thread does.

use crate::support::*;
use preempt_wasi_threads::{Process, ProcessOptions, Program, Tid};
use wasmtime::preempt::*;
use wasmtime::*;

/// A program whose start function runs `init`, and has in `$before` how many instances have
/// started before. `_start` waits for a thread.
fn program(init: &str) -> String {
    format!(
        r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func $init (param $before i32) {init})
            (func $start (call $init (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
            (start $start)
            (func (export "_start")
                (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then unreachable))
                (drop (memory.atomic.wait32 (i32.const 4) (i32.const 0) (i64.const -1))))
            (func (export "wasi_thread_start") (param i32 i32)
                (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1)))
                (drop (memory.atomic.notify (i32.const 4) (i32.const -1)))))"#
    )
}

/// The first instance starts, and no other.
const SECOND_FOR_EVER: &str = "(if (local.get $before) (then (loop br 0)))";
const FIRST_FOR_EVER: &str = "(loop br 0)";

/// Counts to 100, and returns.
const SIBLING: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared))
    (func (export "_start")
        (loop $again
            (br_if $again (i32.lt_u
                (i32.atomic.rmw.add (i32.const 0) (i32.const 1)) (i32.const 99))))))"#;

fn store(source: Preemption) -> Store<()> {
    let mut store = Store::new(&engine(source), ());
    store.wasm_threads().set_slice(short_slice(source)).unwrap();
    store
}

fn spawn(store: &mut Store<()>, init: &str, options: ProcessOptions) -> Process {
    spawn_wat(store, &program(init), options)
}

fn returned(process: &Process) -> bool {
    let outcome = process.outcome();
    outcome.is_some_and(|outcome| matches!(outcome.exit, Exit::Returned(_)))
}

#[test]
fn a_start_function_that_never_returns_holds_up_no_other_process() {
    for source in sources() {
        for init in [FIRST_FOR_EVER, SECOND_FOR_EVER] {
            let mut store = store(source);
            let stuck = spawn(&mut store, init, ProcessOptions::new());
            let sibling = spawn_wat(&mut store, SIBLING, ProcessOptions::new());
            run_until(&mut store, || returned(&sibling));
            assert!(stuck.outcome().is_none(), "{source}: {stuck:?}");
            stuck.kill();
            let run = store.run_wasm_threads_for(LONG).unwrap();
            assert_eq!(run.end, RunEnd::AllFinished, "{source}");
            assert!(stuck.has_ended());
            let outcome = stuck.outcome().unwrap();
            assert!(matches!(outcome.exit, Exit::Killed), "{outcome:?}");
        }
    }
}

#[test]
fn limits_are_for_start_functions_too() {
    for source in sources() {
        for (init, tid) in [(FIRST_FOR_EVER, 0), (SECOND_FOR_EVER, 1)] {
            let mut store = store(source);
            let threads = ThreadOptions::new().cpu_limit(ms(20));
            let options = ProcessOptions::new().threads(threads);
            let process = spawn(&mut store, init, options);
            store.run_wasm_threads_for(LONG).unwrap();
            let outcome = process.outcome().unwrap();
            assert!(matches!(outcome.exit, Exit::OverLimit(_)), "{outcome:?}");
            assert_eq!(outcome.tid.as_u32(), tid, "{source}: {outcome:?}");
        }
    }
}

#[test]
fn a_trap_in_a_start_function_is_that_of_its_thread() {
    for source in sources() {
        for (init, tid) in [
            ("unreachable", 0),
            ("(if (local.get $before) (then unreachable))", 1),
        ] {
            let mut store = store(source);
            let process = spawn(&mut store, init, ProcessOptions::new());
            store.run_wasm_threads_for(LONG).unwrap();
            let outcome = process.outcome().unwrap();
            assert_eq!(outcome.tid.as_u32(), tid, "{source}: {outcome:?}");
            let error = outcome.error().unwrap();
            assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
            assert!(process.has_ended());
            let stats = process.stats();
            assert_eq!((stats.started, stats.refused), (tid.into(), 0), "{source}");
        }
    }
}

/// Each instance starts another: there are as many as there may be.
#[test]
fn start_functions_that_start_threads_are_bounded() {
    let init = "(drop (call $spawn (i32.const 0)))";
    for source in sources() {
        for options in [
            ProcessOptions::new().max_threads(5),
            ProcessOptions::new().max_instances(5),
        ] {
            let mut store = store(source);
            let process = spawn(&mut store, init, options);
            store.run_wasm_threads_for(LONG).unwrap();
            assert!(process.has_ended());
            let stats = process.stats();
            assert!(stats.started > 0, "{source}: {stats:?}");
            assert!(stats.most_threads <= 5, "{source}: {stats:?}");
            assert!(stats.instances <= 5, "{source}: {stats:?}");
        }
    }
}

/// The thread of an instance that it starts from its start function.
#[test]
fn a_start_function_may_start_a_thread() {
    let init = r"(if (i32.eqz (local.get $before))
        (then (drop (call $spawn (i32.const 0)))))";
    for source in sources() {
        let mut store = store(source);
        let process = spawn(&mut store, init, ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        assert!(returned(&process), "{source}: {process:?}");
        assert_eq!(process.stats().started, 2, "{source}");
    }
}

/// One that is used again is as the start function has left it, which is not run again.
#[test]
fn an_instance_is_started_once() {
    let wat = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (global $ready (mut i32) (i32.const 0))
        (func $start
            (global.set $ready (i32.const 1))
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
        (start $start)
        (func (export "_start") (local $left i32) (local $before i32)
            (local.set $left (i32.const 100))
            (loop $again
                (local.set $before (i32.atomic.load (i32.const 4)))
                (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then unreachable))
                (drop (memory.atomic.wait32
                    (i32.const 4) (local.get $before) (i64.const -1)))
                (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
        (func (export "wasi_thread_start") (param i32 i32)
            (if (i32.ne (global.get $ready) (i32.const 1)) (then unreachable))
            (global.set $ready (i32.const 2))
            (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1)))
            (drop (memory.atomic.notify (i32.const 4) (i32.const 1)))))"#;
    for source in sources() {
        let mut store = store(source);
        let process = spawn_wat(&mut store, wat, ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        assert!(returned(&process), "{source}: {process:?}");
        let stats = process.stats();
        assert_eq!(stats.started, 100, "{source}");
        assert!(stats.instances <= 5, "{source}: {stats:?}");
        assert_eq!(word(&process, 0) as usize, stats.instances, "{source}");
    }
}

#[test]
fn a_store_is_dropped_while_threads_start() {
    for source in sources() {
        for init in [FIRST_FOR_EVER, SECOND_FOR_EVER] {
            let mut store = store(source);
            let process = spawn(&mut store, init, ProcessOptions::new());
            let never_run = spawn(&mut store, init, ProcessOptions::new());
            never_run.kill();
            store.run_wasm_threads_for(ms(20)).unwrap();
            let unstarted = spawn(&mut store, init, ProcessOptions::new());
            drop(store);
            drop((process, never_run, unstarted));
        }
    }
}

#[test]
fn a_process_that_is_killed_before_it_has_started_never_does() {
    for source in sources() {
        let mut store = store(source);
        let process = spawn(&mut store, "", ProcessOptions::new());
        process.kill();
        store.run_wasm_threads_for(LONG).unwrap();
        assert!(process.has_ended());
        let outcome = process.outcome().unwrap();
        assert_eq!(outcome.tid, Tid::MAIN);
        assert!(matches!(outcome.exit, Exit::Killed), "{outcome:?}");
        assert_eq!(word(&process, 0), 0, "{source}");
    }
}

/// They keep the store while they are pending, as anywhere.
#[test]
fn asynchronous_host_functions_work() {
    for source in sources() {
        let engine = engine(source);
        let wat = r#"(module
            (import "host" "f" (func $f))
            (start $f)
            (func (export "_start") (call $f)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::new(&engine);
        let pending = || {
            let mut polled = false;
            std::future::poll_fn(move |context| match std::mem::replace(&mut polled, true) {
                true => std::task::Poll::Ready(()),
                false => {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
            })
        };
        linker
            .func_wrap_async("host", "f", move |_, ()| Box::new(pending()))
            .unwrap();
        let program = Program::new(&module, &linker).unwrap();
        let mut store = Store::new(&engine, ());
        let process = program.spawn(&mut store, ProcessOptions::new()).unwrap();
        store.run_wasm_threads_for(LONG).unwrap();
        assert!(returned(&process), "{source}: {process:?}");
    }
}
