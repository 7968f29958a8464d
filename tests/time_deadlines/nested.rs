//! A guest called by another store's host function has its own store's deadline, and delays
//! the other's.

use super::support::*;
use crate::support::must_end;
use std::sync::Mutex;
use std::time::Duration;
use wasmtime_preempt::wasmtime::{Config, Engine, Instance, Module, Preemption, Store};

#[test]
fn each_is_ended_by_its_own_stores_deadline() {
    must_end(|| {
        for engine in engines() {
            let (mut inner, instance) = plain_guests(&engine);
            let spin = export::<(), ()>(&mut inner, &instance, "spin");
            let inner = Mutex::new(inner);
            let (mut outer, instance) = guests(&engine, 0, move |mut caller, value| {
                let mut inner = inner.lock().unwrap();
                inner.set_time_deadline(wall(3)).unwrap();
                assert_reached(&spin.call(&mut *inner, ()).unwrap_err(), wall(3));
                *caller.data_mut() += 1;
                value
            });
            let looping = export::<(), ()>(&mut outer, &instance, "call_in_a_loop");
            for deadline in [wall(1), wall(10), cpu(1), cpu(10)] {
                outer.set_time_deadline(deadline).unwrap();
                let error = looping.call(&mut outer, ()).unwrap_err();
                assert_reached(&error, deadline);
            }
            assert!(*outer.data() >= 4);
        }
    });
}

#[test]
fn the_outer_guest_is_ended_though_the_inner_store_has_no_deadline() {
    must_end(|| {
        for engine in engines() {
            let (mut inner, instance) = plain_guests(&engine);
            let sum = export::<i64, i64>(&mut inner, &instance, "sum");
            let expected = sum.call(&mut inner, 100_000).unwrap();
            let inner = Mutex::new(inner);
            let (mut outer, instance) = guests(&engine, (), move |_, value| {
                let sum = sum.call(&mut *inner.lock().unwrap(), 100_000).unwrap();
                assert_eq!(sum, expected);
                value
            });
            let looping = export::<(), ()>(&mut outer, &instance, "call_in_a_loop");
            for _ in 0..20 {
                outer.set_time_deadline(wall(2)).unwrap();
                assert_reached(&looping.call(&mut outer, ()).unwrap_err(), wall(2));
            }
        }
    });
}

#[test]
fn a_nested_run_of_guest_threads_leaves_the_deadline_in_place() {
    must_end(|| {
        for engine in engines() {
            let mut config = Config::new();
            config.preemption(Preemption::for_this_host());
            let threads = Engine::new(&config).unwrap();
            let nop = Module::new(&threads, r#"(module (func (export "nop")))"#).unwrap();
            let mut inner = Store::new(&threads, ());
            let instance = Instance::new(&mut inner, &nop, &[]).unwrap();
            let nop = instance.get_func(&mut inner, "nop").unwrap();
            let inner = Mutex::new(inner);
            let (mut outer, instance) = guests(&engine, (), move |_, value| {
                let mut inner = inner.lock().unwrap();
                inner.spawn_wasm_thread(nop, &[]).unwrap();
                let run = inner
                    .run_wasm_threads_for(Duration::from_secs(100))
                    .unwrap();
                assert_eq!(run.finished, 1);
                value
            });
            let call = export::<i32, i32>(&mut outer, &instance, "call_and_spin");
            for deadline in [wall(30), cpu(30)] {
                outer.set_time_deadline(deadline).unwrap();
                assert_reached(&call.call(&mut outer, 1).unwrap_err(), deadline);
            }
        }
    });
}
