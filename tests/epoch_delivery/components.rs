//! Components are interrupted like core modules, in their own code and on return from the host.

use super::support::*;
use crate::support::must_end;
use wasmtime_preempt::wasmtime::component::{Component, Linker};
use wasmtime_preempt::wasmtime::{Engine, Store, Trap, UpdateDeadline};

const COMPONENT: &str = r#"
    (component
      (import "call" (func $call (param "x" u32) (result u32)))
      (core func $lowered (canon lower (func $call)))
      (core module $m
        (import "" "call" (func $call (param i32) (result i32)))
        (func (export "spin") (loop $l (br $l)))
        (func (export "loop") (loop $l (drop (call $call (i32.const 0))) (br $l)))
        (func (export "sum") (param $n i32) (result i32) (local $a i32)
          (loop $l
            (local.set $a (i32.add (i32.mul (local.get $a) (i32.const 1664525))
                                   (call $call (local.get $n))))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $l (local.get $n)))
          (local.get $a)))
      (core instance $i (instantiate $m (with "" (instance (export "call" (func $lowered))))))
      (func (export "spin") (canon lift (core func $i "spin")))
      (func (export "loop") (canon lift (core func $i "loop")))
      (func (export "sum") (param "n" u32) (result u32) (canon lift (core func $i "sum"))))
"#;

fn component(engine: &Engine) -> (Store<()>, wasmtime_preempt::wasmtime::component::Instance) {
    let component = Component::new(engine, COMPONENT).unwrap();
    let mut linker = Linker::new(engine);
    linker
        .root()
        .func_wrap("call", |_, (value,): (u32,)| Ok((value ^ 5,)))
        .unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    (store, instance)
}

#[test]
fn a_component_that_spins_is_ended() {
    must_end(|| {
        let engine = engine();
        for name in ["spin", "loop"] {
            for _ in 0..10 {
                let (mut store, instance) = component(&engine);
                let spin = instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
                store.set_epoch_deadline(1);
                let _ticker = Ticker::new(&engine, micros(500));
                let error = spin.call(&mut store, ()).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{error:?}");
            }
        }
    });
}

#[test]
fn an_interrupted_component_goes_on_where_it_was() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = component(&engine);
        let sum = instance
            .get_typed_func::<(u32,), (u32,)>(&mut store, "sum")
            .unwrap();
        let expected = sum.call(&mut store, (200_000,)).unwrap();
        let interrupted = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = interrupted.clone();
        store.epoch_deadline_callback(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, micros(50));
        while interrupted.load(std::sync::atomic::Ordering::Relaxed) < 200 {
            assert_eq!(sum.call(&mut store, (200_000,)).unwrap(), expected);
        }
    });
}

#[test]
fn a_component_yields_to_the_executor() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = component(&engine);
        let sum = instance
            .get_typed_func::<(u32,), (u32,)>(&mut store, "sum")
            .unwrap();
        let expected = sum.call(&mut store, (200_000,)).unwrap();
        store.epoch_deadline_async_yield_and_update(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(100));
        runtime.block_on(async {
            for _ in 0..20 {
                store.set_epoch_deadline(1);
                let result = sum.call_async(&mut store, (200_000,)).await.unwrap();
                assert_eq!(result, expected);
            }
        });
    });
}

#[test]
fn a_callback_cannot_enter_components() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = component(&engine);
        let sum = instance
            .get_typed_func::<(u32,), (u32,)>(&mut store, "sum")
            .unwrap();
        let refusals = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = refusals.clone();
        store.epoch_deadline_callback(move |mut store| {
            let error = sum.call(&mut store, (1,)).unwrap_err();
            assert!(
                format!("{error:?}").contains("epoch deadline callback"),
                "{error:?}"
            );
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, micros(200));
        while refusals.load(std::sync::atomic::Ordering::Relaxed) < 20 {
            sum.call(&mut store, (200_000,)).unwrap();
        }
    });
}
