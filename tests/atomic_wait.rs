//! A guest thread that waits for an atomic is parked: its siblings run on.

use crate::support::config;
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

const NOTIFIER: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))
  (func (export "wait32") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "notify") (param i32 i32) (result i32)
    (memory.atomic.notify (local.get 0) (local.get 1))))
"#;

fn a_thread_is_parked_until_it_is_notified(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(&engine, NOTIFIER).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let mut store = Store::new(&engine, ());
    store.wasm_threads_own_memory(&memory).unwrap();
    let spawn = |store: &mut Store<()>, name: &str, params: &[Val]| {
        let instance = Instance::new(&mut *store, &module, &[memory.clone().into()]).unwrap();
        let func = instance.get_func(&mut *store, name).unwrap();
        store.spawn_wasm_thread(func, params).unwrap()
    };
    let wait = [Val::I32(16), Val::I32(0), Val::I64(-1)];
    let waiters = [(); 3].map(|()| spawn(&mut store, "wait32", &wait));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::Deadlock);
    assert_eq!(run.deadlocked, waiters.map(|id| (id, WaitFor::Atomic(16))));

    let notifier = spawn(&mut store, "notify", &[Val::I32(16), Val::I32(2)]);
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::Deadlock);
    assert_eq!(run.deadlocked, [(waiters[2], WaitFor::Atomic(16))]);
    for (id, expected) in [(notifier, 2), (waiters[0], 0), (waiters[1], 0)] {
        let exit = store.take_wasm_thread_exit(id);
        let Some(Exit::Returned(values)) = exit else {
            panic!("{exit:?}");
        };
        assert_eq!(values[0].unwrap_i32(), expected);
    }
    assert_eq!(memory.atomic_notify(16, 9).unwrap(), 1, "one is left");
    assert_eq!(
        store.run_wasm_threads_for(Duration::MAX).unwrap().end,
        RunEnd::AllFinished
    );
    assert_eq!(memory.atomic_notify(16, 9).unwrap(), 0, "and none now");
}

fn a_plain_call_waits_as_it_always_did(preemption: Preemption) {
    let engine = Engine::new(&config_with_shared_memory(preemption)).unwrap();
    let module = Module::new(&engine, WAITER).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let wait = instance
        .get_typed_func::<i64, i32>(&mut store, "wait32")
        .unwrap();
    assert_eq!(wait.call(&mut store, 1_000).unwrap(), 2, "timed out");
}

#[test]
fn a_thread_is_parked_until_it_is_notified_under_each_source() {
    for source in [
        Preemption::Fuel,
        Preemption::Epoch,
        Preemption::for_this_host(),
    ] {
        a_thread_is_parked_until_it_is_notified(source);
        a_plain_call_waits_as_it_always_did(source);
    }
}
