//! A future that is dropped while its guest is stopped at an arbitrary instruction unwinds the
//! guest, and leaks nothing. One that is leaked there leaves the store usable.

use super::support::*;
use crate::support::must_end;
use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};
use wasmtime_preempt::wasmtime::{Func, Instance, Module, Store, Trap};

#[test]
fn a_leaked_future_leaves_the_store_usable() {
    must_end(|| {
        let engine = engine();
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, GUESTS).unwrap();
        let host = Func::wrap(&mut store, |value: i32| value);
        store.set_epoch_deadline(u64::MAX / 2);
        let imports = [host.into()];
        let instance = Instance::new_async(&mut store, &module, &imports);
        let instance = crate::support::now(instance).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let spin = instance.get_typed_func::<(), ()>(&mut store, "spin");
        let spin = spin.unwrap();
        for _ in 0..3 {
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
            let mut future = Box::pin(spin.call_async(&mut store, ()));
            let mut cx = Context::from_waker(Waker::noop());
            let ticker = Ticker::new(&engine, micros(100));
            assert!(future.as_mut().poll(&mut cx).is_pending());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            mem::forget(future);
            drop(ticker);

            // All that is refused while a deadline is handled.
            memory.grow(&mut store, 1).unwrap();
            store.epoch_deadline_trap();
            store.set_epoch_deadline(1);
            let _ticker = Ticker::new(&engine, micros(100));
            let called = crate::support::now(spin.call_async(&mut store, ()));
            let trap = called.unwrap_err().downcast::<Trap>().unwrap();
            assert_eq!(trap, Trap::Interrupt);
        }
    });
}

fn drop_futures(count: usize) {
    must_end(move || {
        let engine = engine();
        let token = Arc::new(());
        let mut store = Store::new(&engine, ());
        store.epoch_deadline_async_yield_and_update(1);
        let module = Module::new(&engine, GUESTS).unwrap();
        let held = token.clone();
        let host = Func::wrap_async(&mut store, move |_, (value,): (i32,)| {
            let held = held.clone();
            Box::new(async move {
                let _held = held;
                value
            })
        });
        store.set_epoch_deadline(u64::MAX / 2);
        let imports = [host.into()];
        let instance = Instance::new_async(&mut store, &module, &imports);
        let instance = crate::support::now(instance).unwrap();
        let _ticker = Ticker::new(&engine, micros(100));
        let mut dropped = 0;
        while dropped < count {
            for name in ["spin", "call_in_a_loop"] {
                let spin = instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
                store.set_epoch_deadline(1);
                let mut future = Box::pin(spin.call_async(&mut store, ()));
                let mut cx = Context::from_waker(Waker::noop());
                for _ in 0..dropped % 3 + 1 {
                    assert!(future.as_mut().poll(&mut cx).is_pending());
                }
                drop(future);
                dropped += 1;
            }
        }
        drop(store);
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn dropped_futures_leave_the_store_usable() {
    drop_futures(300);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn ten_thousand_dropped_futures_leave_the_store_usable() {
    drop_futures(10_000);
}
