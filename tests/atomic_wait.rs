//! A guest thread that would wait for an atomic ends with an error: it would stop
//! the siblings that are to notify it.

use crate::support::{config, spawn, trapped};
use std::time::Duration;
use wasmtime::*;

const WAITER: &str = r#"
(module
  (memory 1 1 shared)
  (func (export "wait32") (param i64) (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "wait64") (param i64) (result i32)
    (memory.atomic.wait64 (i32.const 0) (i64.const 0) (local.get 0))))
"#;

fn config_with_shared_memory(preemption: Preemption) -> Config {
    let mut config = config(preemption);
    config.shared_memory(true);
    config
}

fn a_thread_that_waits_ends_and_its_siblings_go_on(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(&engine, WAITER).unwrap();
    let mut store = Store::new(&engine, ());
    let forever = [Val::I64(-1)];
    let waiters = ["wait32", "wait64"].map(|name| spawn(&mut store, &module, name, &forever));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.finished, 2);
    for id in waiters {
        let error = trapped(&mut store, id);
        let error = error.root_cause().to_string();
        assert!(error.contains("cannot wait for an atomic"), "{error}");
    }

    // A plain call waits as it always did.
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let wait = instance
        .get_typed_func::<i64, i32>(&mut store, "wait32")
        .unwrap();
    assert_eq!(wait.call(&mut store, 1_000).unwrap(), 2, "timed out");
}

#[test]
fn a_thread_that_waits_ends_under_fuel() {
    a_thread_that_waits_ends_and_its_siblings_go_on(Preemption::Fuel);
}

#[test]
fn a_thread_that_waits_ends_under_epochs() {
    a_thread_that_waits_ends_and_its_siblings_go_on(Preemption::Epoch);
}

#[test]
fn a_thread_that_waits_ends_on_this_host() {
    a_thread_that_waits_ends_and_its_siblings_go_on(Preemption::for_this_host());
}
