//! A guest is interrupted once its store's deadline is reached, and not before.

use super::support::*;
use crate::support::must_end;
use wasmtime_preempt::wasmtime::{Trap, WasmBacktrace};

#[test]
fn a_guest_that_spins_is_ended_at_its_deadline() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        let mut backtraces = 0;
        while backtraces < 20 {
            store.set_epoch_deadline(2);
            let _ticker = Ticker::new(&engine, micros(500));
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            // There is none if the deadline was reached before the call.
            if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
                assert_eq!(backtrace.frames().len(), 1);
                backtraces += 1;
            }
        }
        // The store is as good as new.
        store.set_epoch_deadline(u64::MAX / 2);
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        assert_eq!(call.call(&mut store, 7).unwrap(), 7);
    });
}

#[test]
fn a_call_after_the_deadline_is_ended_at_once() {
    let engine = engine();
    let (mut store, instance) = plain_guests(&engine);
    let call = instance
        .get_typed_func::<i32, i32>(&mut store, "call")
        .unwrap();
    store.set_epoch_deadline(1);
    assert_eq!(call.call(&mut store, 1).unwrap(), 1);
    engine.increment_epoch();
    for _ in 0..3 {
        let error = call.call(&mut store, 1).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    }
    // As with checks, the deadline of a new store is 0.
    let mut new = wasmtime_preempt::wasmtime::Store::new(&engine, ());
    let module =
        wasmtime_preempt::wasmtime::Module::new(&engine, r#"(module (func (export "f")))"#)
            .unwrap();
    let instance = wasmtime_preempt::wasmtime::Instance::new(&mut new, &module, &[]).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut new, "f").unwrap();
    assert!(f.call(&mut new, ()).unwrap_err().is::<Trap>());
}

#[test]
fn a_start_function_is_ended_at_the_deadline() {
    must_end(|| {
        let engine = engine();
        let module = wasmtime_preempt::wasmtime::Module::new(
            &engine,
            "(module (func $f (loop $l (br $l))) (start $f))",
        )
        .unwrap();
        let mut store = wasmtime_preempt::wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, micros(1000));
        let error =
            wasmtime_preempt::wasmtime::Instance::new(&mut store, &module, &[]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    });
}

#[test]
fn stores_with_later_deadlines_and_other_engines_are_left_alone() {
    let (engine, other) = (engine(), engine());
    let (mut store, instance) = plain_guests(&engine);
    store.set_epoch_deadline(u64::MAX / 2);
    let sum = instance
        .get_typed_func::<i64, i64>(&mut store, "sum")
        .unwrap();
    let expected = sum.call(&mut store, 1_000_000).unwrap();
    let _one = Ticker::new(&engine, micros(50));
    let _two = Ticker::new(&other, micros(50));
    for _ in 0..5 {
        assert_eq!(sum.call(&mut store, 1_000_000).unwrap(), expected);
    }
}

#[test]
fn straight_line_code_is_interrupted_too() {
    must_end(|| {
        let engine = engine();
        // Seconds of work without a loop or a call.
        let copies = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000))".repeat(2000);
        let module = wasmtime_preempt::wasmtime::Module::new(
            &engine,
            format!(r#"(module (memory 256) (func (export "f") {copies}))"#),
        )
        .unwrap();
        let mut store = wasmtime_preempt::wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = wasmtime_preempt::wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let _ticker = Ticker::new(&engine, micros(1000));
        let error = f.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    });
}
