//! Guests that import `preempt`.

use crate::support::{HANG, config, ms, sources};
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;
use wasmtime_preempt::imports;

const GUEST: &str = r#"(module
  (import "preempt" "yield" (func $yield))
  (import "preempt" "sleep" (func $sleep (param i64)))
  (import "preempt" "current" (func $current (result i64)))
  (import "preempt" "join" (func $join (param i64)))
  (func (export "yield") (param i64) (result i64)
    (loop $again
      (call $yield)
      (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get 0) (i64.const 0))))
    (call $current))
  (func (export "sleep") (param i64) (result i64)
    (call $sleep (local.get 0))
    (call $current))
  (func (export "join") (param i64) (result i64)
    (call $join (local.get 0))
    (call $current))
  (func (export "current") (param i64) (result i64) (call $current)))"#;

struct Guests {
    store: Store<()>,
    linker: Linker<()>,
    module: Module,
}

impl Guests {
    fn new(source: Preemption) -> Guests {
        let engine = Engine::new(&config(source)).unwrap();
        let module = Module::new(&engine, GUEST).unwrap();
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker).unwrap();
        Guests {
            store: Store::new(&engine, ()),
            linker,
            module,
        }
    }

    fn func(&mut self, name: &str) -> TypedFunc<i64, i64> {
        let instance = self.linker.instantiate(&mut self.store, &self.module);
        instance
            .unwrap()
            .get_typed_func(&mut self.store, name)
            .unwrap()
    }

    fn spawn(&mut self, name: &str, arg: i64) -> TypedThreadId<i64> {
        let func = self.func(name);
        ThreadOptions::new()
            .spawn_typed(&mut self.store, &func, arg)
            .unwrap()
    }

    fn finish(&mut self) {
        let run = self.store.run_wasm_threads_for(HANG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished);
    }

    fn exit(&mut self, id: TypedThreadId<i64>) -> TypedExit<i64> {
        id.take_exit(&mut self.store).unwrap()
    }
}

fn each() -> impl Iterator<Item = Guests> {
    sources().into_iter().map(Guests::new)
}

#[test]
fn threads_know_their_ids() {
    for mut guests in each() {
        let ids = [(); 3].map(|()| guests.spawn("current", 0));
        guests.finish();
        for id in ids {
            let own = id.id().as_u64() as i64;
            assert!(matches!(guests.exit(id), TypedExit::Returned(n) if n == own));
        }
        let current = guests.func("current");
        assert_eq!(current.call(&mut guests.store, 0).unwrap(), 0);
    }
}

#[test]
fn sleepers_overlap_and_joiners_wait_for_them() {
    for mut guests in each() {
        let started = Instant::now();
        let sleepers = [(); 10].map(|()| guests.spawn("sleep", 500_000_000));
        let joiner = guests.spawn("join", sleepers[9].id().as_u64() as i64);
        guests.finish();
        // One after the other they take longer on any machine.
        assert!(started.elapsed() >= ms(500) && started.elapsed() < 10 * ms(500));
        assert!(matches!(guests.exit(joiner), TypedExit::Returned(_)));
    }
}

#[test]
fn yielding_lets_the_others_go_first() {
    for mut guests in each() {
        let id = guests.spawn("yield", 5);
        let other = guests.spawn("yield", 5);
        guests.finish();
        for id in [id, other] {
            assert!(matches!(guests.exit(id), TypedExit::Returned(_)));
        }
        let func = guests.func("yield");
        assert_eq!(func.call(&mut guests.store, 5).unwrap(), 0);
    }
}

#[test]
fn threads_that_cannot_be_joined_trap_their_caller() {
    for mut guests in each() {
        // The last one joins itself.
        for bad in [0, -1, 77, 4] {
            let id = guests.spawn("join", bad);
            guests.finish();
            match guests.exit(id) {
                TypedExit::Trapped(error) => {
                    assert!(format!("{error:?}").contains("guest thread"), "{error:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        let join = guests.func("join");
        join.call(&mut guests.store, 1).unwrap_err();
    }
}

#[test]
fn threads_that_join_each_other_are_a_deadlock() {
    for mut guests in each() {
        guests.spawn("join", 2);
        guests.spawn("join", 1);
        let run = guests.store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(run.end, RunEnd::Deadlock);
        assert_eq!(run.deadlocked.len(), 2);
    }
}

#[test]
fn longest_sleep_can_be_killed() {
    for mut guests in each() {
        let id = guests.spawn("sleep", -1);
        let run = guests.store.run_wasm_threads_for(ms(10)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        assert_eq!(guests.store.shutdown_wasm_threads(), 1);
        assert!(matches!(guests.exit(id), TypedExit::Killed));
    }
}

#[test]
fn plain_call_that_would_sleep_fails() {
    for mut guests in each() {
        let sleep = guests.func("sleep");
        assert_eq!(sleep.call(&mut guests.store, 0).unwrap(), 0);
        let error = sleep.call(&mut guests.store, 1_000_000_000).unwrap_err();
        assert!(format!("{error:?}").contains("call_async"), "{error:?}");
    }
}
