//! By default a call that reaches the deadline ends with an error that says so.

use super::support::*;
use crate::support::must_end;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime_preempt::wasmtime::preempt::TimeDeadline;
use wasmtime_preempt::wasmtime::{Instance, Module, Store};

#[test]
fn a_guest_that_spins_is_ended_and_not_before() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            for deadline in [wall(1), wall(30), cpu(1), cpu(30)] {
                for name in ["spin", "call_in_a_loop"] {
                    let spin = export::<(), ()>(&mut store, &instance, name);
                    let start = Instant::now();
                    store.set_time_deadline(deadline).unwrap();
                    let error = spin.call(&mut store, ()).unwrap_err();
                    assert_reached(&error, deadline);
                    let (TimeDeadline::Wall(time) | TimeDeadline::Cpu(time)) = deadline;
                    assert!(start.elapsed() >= time);
                    assert!(format!("{error:?}").contains("wasm backtrace"), "{error:?}");
                }
            }
        }
    });
}

#[test]
fn each_later_call_is_ended_too_until_there_is_another_deadline() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            let nop = export::<(), ()>(&mut store, &instance, "nop");
            store.set_time_deadline(wall(0)).unwrap();
            assert_eq!(store.time_deadline(), Some(wall(0)));
            for _ in 0..10 {
                assert_reached(&nop.call(&mut store, ()).unwrap_err(), wall(0));
            }
            store.set_time_deadline(FAR).unwrap();
            nop.call(&mut store, ()).unwrap();
            assert!(matches!(store.time_deadline(), Some(left) if left != wall(0)));

            store.set_time_deadline(wall(0)).unwrap();
            store.clear_time_deadline();
            assert_eq!(store.time_deadline(), None);
            nop.call(&mut store, ()).unwrap();
        }
    });
}

#[test]
fn a_guest_in_a_host_function_is_ended_after_it() {
    must_end(|| {
        for engine in engines() {
            for deadline in [wall(2), cpu(2)] {
                let (mut store, instance) = guests(&engine, 0, move |mut caller, _| {
                    *caller.data_mut() += 1;
                    match deadline {
                        TimeDeadline::Wall(_) => thread::sleep(Duration::from_millis(5)),
                        TimeDeadline::Cpu(_) => burn(Duration::from_millis(5)),
                    }
                    0
                });
                store.set_time_deadline(deadline).unwrap();
                let spin = export::<(), ()>(&mut store, &instance, "call_in_a_loop");
                assert_reached(&spin.call(&mut store, ()).unwrap_err(), deadline);
                assert!(*store.data() >= 1);
            }
        }
    });
}

#[test]
fn a_start_function_is_ended() {
    must_end(|| {
        for engine in engines() {
            let spin = "(module (func $spin (loop br 0)) (start $spin))";
            let module = Module::new(&engine, spin).unwrap();
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            store.set_time_deadline(wall(5)).unwrap();
            let error = Instance::new(&mut store, &module, &[]).unwrap_err();
            assert_reached(&error, wall(5));
        }
    });
}
