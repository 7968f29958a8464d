//! What a callback answers at the deadline is done, and what it does is seen.

use super::support::*;
use crate::support::{must_end, now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime_preempt::wasmtime::{Trap, UpdateDeadline, format_err};

#[test]
fn a_guest_goes_on_where_it_was() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.set_epoch_deadline(u64::MAX / 2);
        let expected = sum.call(&mut store, 3_000_000).unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let counter = calls.clone();
        store.epoch_deadline_callback(move |_| {
            counter.fetch_add(1, Relaxed);
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, micros(50));
        let mut rounds = 0;
        while calls.load(Relaxed) < 200 {
            assert_eq!(sum.call(&mut store, 3_000_000).unwrap(), expected);
            rounds += 1;
        }
        println!("- {} interruptions in {rounds} calls", calls.load(Relaxed));
    });
}

#[test]
fn a_deadline_that_stays_reached_lets_the_guest_make_progress() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let calls = Arc::new(AtomicU64::new(0));
        let counter = calls.clone();
        store.epoch_deadline_callback(move |_| {
            counter.fetch_add(1, Relaxed);
            Ok(UpdateDeadline::Continue(0))
        });
        store.set_epoch_deadline(0);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        while calls.load(Relaxed) < 100 {
            sum.call(&mut store, 1_000_000).unwrap();
        }
    });
}

#[test]
fn an_interrupt_an_error_and_a_panic_end_the_guest() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(300));

        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Interrupt));
        let error = spin.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));

        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Err(format_err!("enough")));
        let error = spin.call(&mut store, ()).unwrap_err();
        assert!(format!("{error:?}").contains("enough"), "{error:?}");

        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| panic!("in the callback"));
        let call = std::panic::AssertUnwindSafe(|| spin.call(&mut store, ()));
        let panic = std::panic::catch_unwind(call).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in the callback"));

        store.set_epoch_deadline(1);
        store.epoch_deadline_trap();
        let error = spin.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    });
}

#[test]
fn a_yield_outside_of_a_future_is_an_error() {
    let engine = engine();
    let (mut store, instance) = plain_guests(&engine);
    let spin = instance
        .get_typed_func::<(), ()>(&mut store, "spin")
        .unwrap();
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    let _ticker = Ticker::new(&engine, micros(300));
    let error = spin.call(&mut store, ()).unwrap_err();
    assert!(format!("{error:?}").contains("async"), "{error:?}");
}

#[test]
fn a_future_of_the_callback_is_awaited() {
    let engine = engine();
    let (mut store, instance) = plain_guests(&engine);
    let sum = instance
        .get_typed_func::<i64, i64>(&mut store, "sum")
        .unwrap();
    store.set_epoch_deadline(u64::MAX / 2);
    let expected = now(sum.call_async(&mut store, 2_000_000)).unwrap_or_default();
    let awaited = Arc::new(AtomicU64::new(0));
    let counter = awaited.clone();
    store.epoch_deadline_callback(move |_| {
        let counter = counter.clone();
        let future = async move {
            counter.fetch_add(1, Relaxed);
        };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(future)))
    });
    store.set_epoch_deadline(1);
    let _ticker = Ticker::new(&engine, micros(50));
    while awaited.load(Relaxed) < 50 {
        let result = now(sum.call_async(&mut store, 2_000_000));
        assert_eq!(result.unwrap(), expected);
    }
}
