//! Nested calls, of the same store and of others: each has its own store's deadline.

use super::support::*;
use crate::support::must_end;
use std::sync::Mutex;
use wasmtime_preempt::wasmtime::{AsContextMut, Trap, UpdateDeadline};

#[test]
fn a_guest_called_by_a_host_function_is_ended_alone() {
    must_end(|| {
        let engine = engine();
        let (mut inner, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut inner, "spin")
            .unwrap();
        let inner = Mutex::new(inner);
        let (mut outer, instance) = guests(&engine, (), move |mut caller, value| {
            let mut inner = inner.lock().unwrap();
            inner.set_epoch_deadline(1);
            let error = spin.call(&mut *inner, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            // The outer store's is reached by now, too.
            caller.as_context_mut().set_epoch_deadline(u64::MAX / 2);
            value
        });
        outer.set_epoch_deadline(1);
        let call = instance
            .get_typed_func::<i32, i32>(&mut outer, "call")
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(500));
        for _ in 0..10 {
            outer.set_epoch_deadline(1_000_000);
            assert_eq!(call.call(&mut outer, 3).unwrap(), 3);
        }
    });
}

#[test]
fn the_outer_guest_is_interrupted_after_the_inner_one_returns() {
    must_end(|| {
        let engine = engine();
        let (mut inner, instance) = plain_guests(&engine);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut inner, "sum")
            .unwrap();
        inner.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        let inner = Mutex::new(inner);
        let (mut outer, instance) = guests(&engine, (), move |_, value| {
            sum.call(&mut *inner.lock().unwrap(), 10_000).unwrap();
            value
        });
        let spin = instance
            .get_typed_func::<(), ()>(&mut outer, "call_in_a_loop")
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(100));
        for _ in 0..20 {
            outer.set_epoch_deadline(3);
            let error = spin.call(&mut outer, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
    });
}

#[test]
fn a_module_instantiated_by_a_host_function_is_interrupted_too() {
    use wasmtime_preempt::wasmtime::{Func, Instance, Module, Ref, Store, Table};
    must_end(|| {
        let engine = engine();
        let late = Module::new(
            &engine,
            r#"(module (import "" "t" (table 1 funcref)) (func $f (loop $l (br $l)))
                (elem (i32.const 0) $f))"#,
        )
        .unwrap();
        let module = Module::new(
            &engine,
            r#"(module (import "" "load" (func $load)) (table (export "t") 1 funcref) (type $t (func))
                (func (export "f") (call $load) (call_indirect (type $t) (i32.const 0))))"#,
        )
        .unwrap();
        let mut store = Store::new(&engine, None::<Table>);
        store.set_epoch_deadline(u64::MAX / 2);
        let load = Func::wrap(
            &mut store,
            move |mut caller: wasmtime_preempt::wasmtime::Caller<'_, Option<Table>>| {
                let table = caller.data().unwrap();
                Instance::new(&mut caller, &late, &[table.into()]).unwrap();
            },
        );
        let instance = Instance::new(&mut store, &module, &[load.into()]).unwrap();
        *store.data_mut() = instance.get_table(&mut store, "t");
        let table = instance.get_table(&mut store, "t").unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        for _ in 0..5 {
            table.set(&mut store, 0, Ref::Func(None)).unwrap();
            store.set_epoch_deadline(2);
            let _ticker = Ticker::new(&engine, micros(500));
            let error = f.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
    });
}
