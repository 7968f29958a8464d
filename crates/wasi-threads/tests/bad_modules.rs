//! What is missing in a module is named before anything of it runs.

use crate::support::*;
use preempt_wasi_threads::{ProcessOptions, Program};
use std::time::Duration;
use wasmtime::*;

const MEMORY: &str = r#"(import "env" "memory" (memory 1 1 shared))"#;
const SPAWN: &str = r#"(import "wasi" "thread-spawn" (func (param i32) (result i32)))"#;
const START: &str = r#"(func (export "_start"))"#;
const THREAD: &str = r#"(func (export "wasi_thread_start") (param i32 i32))"#;

fn error(fields: &[&str]) -> String {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, format!("(module {})", fields.join("\n"))).unwrap();
    let program = Program::<()>::new(&module, &Linker::new(&engine));
    let spawned = program.and_then(|program| {
        let mut store = Store::new(&engine, ());
        program.spawn(&mut store, ProcessOptions::new())
    });
    match spawned {
        Ok(process) => panic!("{process:?}"),
        Err(error) => format!("{error:?}"),
    }
}

#[track_caller]
fn names(fields: &[&str], expected: &[&str]) {
    let error = error(fields);
    for expected in expected {
        assert!(error.contains(expected), "{expected:?} is not in: {error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    names(&[MEMORY, SPAWN, THREAD], &["does not export `_start`"]);
    let unshared = r#"(import "env" "memory" (memory 1 1))"#;
    names(&[unshared, START], &["unknown import", "env::memory"]);
    let other = r#"(import "env" "other" (func))"#;
    names(&[other, MEMORY, SPAWN, START, THREAD], &["env::other"]);
}

#[test]
fn a_program_without_what_threads_need_runs_and_has_none() {
    const SPAWN: &str = r#"(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))"#;
    const NEVER: &str = r#"(func (export "_start"))"#;
    const ONCE: &str = r#"(func (export "_start")
        (if (i32.ne (call $spawn (i32.const 0)) (i32.const -6)) (then (unreachable))))"#;
    for (fields, refused) in [
        (&[SPAWN, NEVER][..], 0),
        (&[SPAWN, ONCE], 1),
        (&[SPAWN, ONCE, THREAD], 1),
        (&[MEMORY, SPAWN, ONCE], 1),
    ] {
        for source in sources() {
            let engine = engine(source);
            let module = Module::new(&engine, format!("(module {})", fields.join("\n"))).unwrap();
            let program = Program::<()>::new(&module, &Linker::new(&engine)).unwrap();
            let mut store = Store::new(&engine, ());
            let process = program.spawn(&mut store, ProcessOptions::new()).unwrap();
            store.run_wasm_threads_for(Duration::MAX).unwrap();
            let outcome = process.outcome().unwrap();
            assert!(matches!(outcome.exit, Exit::Returned(_)), "{outcome:?}");
            assert_eq!(process.stats().refused, refused);
        }
    }
}

#[test]
fn what_is_of_another_type_is_named() {
    let thread = r#"(func (export "wasi_thread_start") (param i32))"#;
    names(
        &[MEMORY, SPAWN, START, thread],
        &["wasi_thread_start", "(func (param i32))"],
    );
    let spawn = r#"(import "wasi" "thread-spawn" (func (param i64) (result i32)))"#;
    names(&[MEMORY, spawn, START, THREAD], &["thread-spawn", "i64"]);
    let spawn = r#"(import "wasi" "thread-spawn" (global i32))"#;
    names(
        &[MEMORY, spawn, START, THREAD],
        &["thread-spawn", "a global"],
    );
    let start = r#"(memory (export "_start") 1)"#;
    names(&[MEMORY, SPAWN, start, THREAD], &["`_start` as a memory"]);
}

#[test]
fn a_linker_with_a_memory_of_that_name_is_refused() {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(
        &engine,
        format!("(module {MEMORY} {SPAWN} {START} {THREAD})"),
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    linker.define(&store, "env", "memory", memory).unwrap();
    let program = Program::new(&module, &linker).unwrap();
    let error = program
        .spawn(&mut store, ProcessOptions::new())
        .unwrap_err();
    assert!(format!("{error:?}").contains("defined twice"), "{error:?}");
}

#[test]
fn an_engine_without_shared_memory_or_preemption_is_named() {
    let wat = format!("(module {MEMORY} {SPAWN} {START} {THREAD})");
    let mut config = Config::new();
    config.preemption(Preemption::Fuel);
    let error = |config: &Config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, &wat).unwrap();
        let program = Program::new(&module, &Linker::new(&engine)).unwrap();
        let mut store = Store::new(&engine, ());
        let spawned = program.spawn(&mut store, ProcessOptions::new());
        format!("{:?}", spawned.unwrap_err())
    };
    let text = error(&config);
    assert!(text.contains("env.memory"), "{text}");
    let mut config = Config::new();
    config.shared_memory(true);
    let text = error(&config);
    assert!(text.contains("Config::preemption"), "{text}");
}

#[test]
fn a_memory_that_may_not_be_so_large_is_named() {
    let engine = engine(Preemption::Fuel);
    let wat = format!(r#"(module (import "env" "m" (memory 3 9 shared)) {START})"#);
    let module = Module::new(&engine, wat).unwrap();
    let program = Program::new(&module, &Linker::new(&engine)).unwrap();
    let mut store = Store::new(&engine, ());
    let mut spawn = |max| program.spawn(&mut store, ProcessOptions::new().max_memory(max));
    let error = format!("{:?}", spawn(3 * 65_536 - 1).unwrap_err());
    assert!(
        error.contains("env.m") && error.contains("3 pages"),
        "{error}"
    );
    let process = spawn(3 * 65_536).unwrap();
    assert_eq!(process.memory().unwrap().ty().maximum(), Some(3));
}

#[test]
fn another_engine_is_refused() {
    let (one, other) = (engine(Preemption::Fuel), engine(Preemption::Fuel));
    let module = Module::new(&one, format!("(module {START})")).unwrap();
    let error = Program::<()>::new(&module, &Linker::new(&other)).unwrap_err();
    assert!(error.to_string().contains("engines"), "{error}");
    let program = Program::new(&module, &Linker::new(&one)).unwrap();
    let mut store = Store::new(&other, ());
    let error = program
        .spawn(&mut store, ProcessOptions::new())
        .unwrap_err();
    assert!(error.to_string().contains("engines"), "{error}");
}
