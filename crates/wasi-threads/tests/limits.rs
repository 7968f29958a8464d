//! Where a limit is reached `thread-spawn` returns an error, which the guest sees, and
//! nothing is lost.

use crate::support::*;
use preempt_wasi_threads::{Process, ProcessOptions, REFUSED};
use wasmtime::*;

/// Starts as many threads as it can, which wait until it tells them to end, and that twice.
/// Leaves how many it has started the first time and how many the second time, when some
/// that have told of their end may still be there; and the last result.
const GREEDY: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (func (export "_start") (local $tid i32) (local $left i32)
        (loop $twice
            (i32.atomic.store (i32.const 0) (i32.const 0))
            (i32.atomic.store (i32.const 8) (i32.const 0))
            (i32.atomic.store (i32.const 12) (i32.const 0))
            (local.set $left (i32.const 3000))
            (block $stop
                (loop $again
                    (local.set $tid (call $spawn (i32.const 0)))
                    (br_if $stop (i32.lt_s (local.get $tid) (i32.const 0)))
                    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $again (local.get $left))))
            (i32.atomic.store (i32.const 4) (i32.sub (i32.const 0) (local.get $tid)))
            (i32.atomic.store (i32.const 8) (i32.const 1))
            (drop (memory.atomic.notify (i32.const 8) (i32.const -1)))
            (loop $wait
                (drop (memory.atomic.wait32 (i32.const 12)
                    (i32.atomic.load (i32.const 12)) (i64.const 1000000)))
                (br_if $wait (i32.lt_u
                    (i32.atomic.load (i32.const 12)) (i32.atomic.load (i32.const 0)))))
            ;; Once more: what they leave is used again.
            (if (i32.eqz (i32.atomic.load (i32.const 16)))
                (then (i32.atomic.store (i32.const 20) (i32.atomic.load (i32.const 0)))))
            (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1)))
            (br_if $twice (i32.eq (i32.atomic.load (i32.const 16)) (i32.const 1)))))
    (func (export "wasi_thread_start") (param i32 i32)
        (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
        (drop (i32.atomic.rmw.add (i32.const 12) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 12) (i32.const 1)))))"#;

fn run(store: &mut Store<impl Send + 'static>, process: &Process) -> u32 {
    let run = store.run_wasm_threads_for(LONG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{run:?}");
    let outcome = process.outcome().unwrap();
    assert!(matches!(outcome.exit, Exit::Returned(_)), "{outcome:?}");
    assert_eq!(word(process, 4), REFUSED.unsigned_abs());
    assert_eq!(word(process, 12), word(process, 0), "all have ended");
    assert_eq!(word(process, 16), 2);
    assert_eq!(process.stats().refused, 2);
    assert!(word(process, 0) <= word(process, 20));
    word(process, 20)
}

#[test]
fn threads_of_a_process() {
    for source in sources() {
        let engine = engine(source);
        for max in [1, 2, 100] {
            let mut store = Store::new(&engine, ());
            let options = ProcessOptions::new().max_threads(max);
            let process = spawn_wat(&mut store, GREEDY, options);
            assert_eq!(run(&mut store, &process), max as u32 - 1, "{source}");
            assert_eq!(process.stats().most_threads, max);
            assert_eq!(process.stats().instances, max);
        }
    }
}

#[test]
fn a_thousand_threads_by_default() {
    let engine = engine(Preemption::for_this_host());
    let mut store = Store::new(&engine, ());
    let process = spawn_wat(&mut store, GREEDY, ProcessOptions::new());
    assert_eq!(run(&mut store, &process), 999);
}

#[test]
fn threads_of_the_store() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_max_threads(50).unwrap();
        let process = spawn_wat(&mut store, GREEDY, ProcessOptions::new());
        assert_eq!(run(&mut store, &process), 49, "{source}");
    }
}

#[test]
fn stacks_of_the_store() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        // Of 2 MiB each.
        store.wasm_threads().set_max_stack_bytes(21 << 20).unwrap();
        let process = spawn_wat(&mut store, GREEDY, ProcessOptions::new());
        assert_eq!(run(&mut store, &process), 9, "{source}");
    }
}

/// There is no memory for more.
#[test]
fn stacks_and_instances_of_the_allocator() {
    for source in sources() {
        for (stacks, instances, most) in [(8, 100, 8), (100, 8, 8)] {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_stacks(stacks)
                .total_core_instances(instances)
                .total_memories(1)
                .total_tables(100);
            let mut config = Config::new();
            config
                .preemption(source)
                .shared_memory(true)
                .allocation_strategy(pool);
            let engine = Engine::new(&config).unwrap();
            let mut store = Store::new(&engine, ());
            let process = spawn_wat(&mut store, GREEDY, ProcessOptions::new());
            let started = run(&mut store, &process);
            assert!((1..most).contains(&started), "{source}: {started}");
        }
    }
}

#[test]
fn instances_of_a_process() {
    for source in sources() {
        let engine = engine(source);
        let mut store = Store::new(&engine, ());
        let options = ProcessOptions::new().max_instances(30);
        let process = spawn_wat(&mut store, GREEDY, options);
        assert_eq!(run(&mut store, &process), 29, "{source}");
    }
}

#[test]
fn instances_of_the_store() {
    for source in sources() {
        let engine = engine(source);
        let limits = StoreLimitsBuilder::new().instances(20).build();
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        let module = Module::new(&engine, GREEDY).unwrap();
        let program = preempt_wasi_threads::Program::new(&module, &Linker::new(&engine)).unwrap();
        let process = program.spawn(&mut store, ProcessOptions::new()).unwrap();
        let started = run(&mut store, &process);
        assert!((1..20).contains(&started), "{source}: {started}");
        // A second process has nothing left to start with.
        let error = program
            .spawn(&mut store, ProcessOptions::new())
            .unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains("instance count too high"), "{error}");
    }
}

/// A guest that asks for ever is told for ever, and takes no memory by it.
#[test]
fn asking_again_costs_nothing() {
    let engine = engine(Preemption::Fuel);
    let limits = StoreLimitsBuilder::new().instances(2).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let wat = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (func (export "_start") (local $left i32)
            (local.set $left (i32.const 50000))
            (loop $again
                (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0))
                    (then (i32.store (i32.const 0)
                        (i32.add (i32.load (i32.const 0)) (i32.const 1)))))
                (br_if $again (local.tee $left
                    (i32.sub (local.get $left) (i32.const 1))))))
        (func (export "wasi_thread_start") (param i32 i32)
            (loop (br 0))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let program = preempt_wasi_threads::Program::new(&module, &Linker::new(&engine)).unwrap();
    let options = ProcessOptions::new().max_instances(100);
    let process = program.spawn(&mut store, options).unwrap();
    let run = store.run_wasm_threads_for(LONG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    assert_eq!(
        process.stats().started + u64::from(word(&process, 0)),
        50_000
    );
    assert!(process.stats().refused >= 49_999);
    assert_eq!(process.stats().instances, 100);
}

/// A C program sees it as well.
#[test]
fn a_program_is_told() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        let module = fixture(&engine, "queue");
        let options = ProcessOptions::new().max_threads(4);
        let guest = spawn(&mut store, &module, &["4", "4", "100"], options);
        store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(guest.end(), ("cannot start a thread".to_string(), 2));
        assert_eq!(guest.process.stats().started, 3, "{source}");
    }
}

#[test]
fn memory() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        let module = fixture(&engine, "exit");
        let options = ProcessOptions::new().max_memory(16 * 65_536);
        let guest = spawn(&mut store, &module, &["grow"], options);
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert_eq!(guest.status(), 1, "{}", guest.stdout());
        assert!(guest.process.memory().unwrap().size() <= 16);
    }
}

/// Where there is no stack for a thread, none of its instances is used up.
#[test]
fn asking_for_stacks_costs_no_instances() {
    for source in sources() {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_stacks(3)
            .total_core_instances(50)
            .total_memories(1)
            .total_tables(100);
        let mut config = Config::new();
        config
            .preemption(source)
            .shared_memory(true)
            .allocation_strategy(pool);
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        let wat = r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func (export "_start") (local $left i32)
                (local.set $left (i32.const 1000))
                (loop $again
                    (drop (call $spawn (i32.const 0)))
                    (br_if $again (local.tee $left
                        (i32.sub (local.get $left) (i32.const 1))))))
            (func (export "wasi_thread_start") (param i32 i32) (loop br 0)))"#;
        let process = spawn_wat(&mut store, wat, ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        let stats = process.stats();
        assert!(
            stats.started < 3 && stats.refused > 990,
            "{source}: {stats:?}"
        );
        assert!(stats.instances <= 3, "{source}: {stats:?}");
    }
}
