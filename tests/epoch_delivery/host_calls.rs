//! A guest in the host is not disturbed: the deadline is seen when the host returns.

use super::support::*;
use crate::support::must_end;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime_preempt::wasmtime::{Trap, UpdateDeadline, format_err};

#[test]
fn a_guest_that_calls_the_host_all_the_time_is_ended() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "call_in_a_loop")
            .unwrap();
        for _ in 0..20 {
            store.set_epoch_deadline(1);
            let _ticker = Ticker::new(&engine, micros(500));
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
    });
}

#[test]
fn a_deadline_reached_in_a_host_function_is_seen_at_its_end() {
    must_end(|| {
        let engine = engine();
        let incremented = engine.clone();
        let (mut store, instance) = guests(&engine, (), move |_, value| {
            incremented.increment_epoch();
            value + 1
        });
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        store.set_epoch_deadline(1);
        let error = call.call(&mut store, 1).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        // The results of the host function are kept meanwhile.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        store.set_epoch_deadline(1);
        assert_eq!(call.call(&mut store, 1).unwrap(), 2);
    });
}

#[test]
fn an_error_of_the_host_function_comes_first() {
    let engine = engine();
    let incremented = engine.clone();
    let mut store = wasmtime_preempt::wasmtime::Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let fail = wasmtime_preempt::wasmtime::Func::wrap(
        &mut store,
        move |_: i32| -> wasmtime_preempt::wasmtime::Result<i32> {
            incremented.increment_epoch();
            Err(format_err!("of the host"))
        },
    );
    let module = wasmtime_preempt::wasmtime::Module::new(&engine, GUESTS).unwrap();
    let instance =
        wasmtime_preempt::wasmtime::Instance::new(&mut store, &module, &[fail.into()]).unwrap();
    let call = instance
        .get_typed_func::<i32, i32>(&mut store, "call")
        .unwrap();
    let error = call.call(&mut store, 1).unwrap_err();
    assert!(format!("{error:?}").contains("of the host"), "{error:?}");
}

#[test]
fn system_calls_of_host_functions_do_not_fail() {
    must_end(|| {
        let engine = engine();
        static INTERRUPTED: AtomicU64 = AtomicU64::new(0);
        let incremented = engine.clone();
        let (mut store, instance) = guests(&engine, (), move |_, value| {
            let thread = std::thread::spawn({
                let engine = incremented.clone();
                move || {
                    for _ in 0..20 {
                        std::thread::sleep(micros(200));
                        engine.increment_epoch();
                    }
                }
            });
            // SAFETY: no file is polled.
            let result = unsafe { libc::poll(std::ptr::null_mut(), 0, 20) };
            if result != 0 {
                INTERRUPTED.fetch_add(1, Relaxed);
            }
            thread.join().unwrap();
            value
        });
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        for _ in 0..10 {
            call.call(&mut store, 1).unwrap();
        }
        assert_eq!(INTERRUPTED.load(Relaxed), 0);
    });
}

#[test]
fn a_host_function_can_move_the_deadline() {
    must_end(|| {
        let engine = engine();
        let incremented = engine.clone();
        let (mut store, instance) = guests(&engine, (), move |mut caller, value| {
            use wasmtime_preempt::wasmtime::AsContextMut;
            incremented.increment_epoch();
            caller.as_context_mut().set_epoch_deadline(1);
            value
        });
        store.set_epoch_deadline(1);
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        for _ in 0..10 {
            assert_eq!(call.call(&mut store, 1).unwrap(), 1);
        }
    });
}
