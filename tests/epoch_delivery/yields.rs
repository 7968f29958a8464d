//! A yield returns to the executor, and the guest goes on where it was, on any OS thread.

use super::support::*;
use crate::support::must_end;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

/// Polls `future` once on each of `threads` OS threads in turn. Returns the result, and how many
/// polls it took.
fn poll_everywhere<F: Future + Send>(future: F) -> (F::Output, u64)
where
    F::Output: Send,
{
    let mut future = pin!(future);
    let mut polls = 0;
    loop {
        let poll = std::thread::scope(|scope| {
            let poll = || {
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
            };
            scope.spawn(poll).join().unwrap()
        });
        polls += 1;
        if let Poll::Ready(result) = poll {
            return (result, polls);
        }
    }
}

#[test]
fn a_future_that_moves_between_os_threads_has_the_same_result() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.set_epoch_deadline(u64::MAX / 2);
        let expected = sum.call(&mut store, 2_000_000).unwrap();
        store.epoch_deadline_async_yield_and_update(1);
        let _ticker = Ticker::new(&engine, micros(200));
        let mut polls = 0;
        while polls < 300 {
            store.set_epoch_deadline(1);
            let (result, more) = poll_everywhere(sum.call_async(&mut store, 2_000_000));
            assert_eq!(result.unwrap(), expected);
            polls += more;
        }
    });
}

#[test]
fn guests_that_spin_share_the_os_threads_of_an_executor() {
    must_end(|| {
        let engine = engine();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(500));
        runtime.block_on(async {
            let spinners: Vec<_> = (0..8)
                .map(|_| {
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        let (mut store, instance) = plain_guests(&engine);
                        store.epoch_deadline_async_yield_and_update(1);
                        let spin = instance
                            .get_typed_func::<(), ()>(&mut store, "spin")
                            .unwrap();
                        spin.call_async(&mut store, ()).await
                    })
                })
                .collect();
            // Others get their turns, and so do many more calls.
            for _ in 0..50 {
                let engine = engine.clone();
                let call = tokio::spawn(async move {
                    let (mut store, instance) = plain_guests(&engine);
                    store.epoch_deadline_async_yield_and_update(1);
                    let call = instance
                        .get_typed_func::<i32, i32>(&mut store, "call")
                        .unwrap();
                    call.call_async(&mut store, 5).await.unwrap()
                });
                assert_eq!(call.await.unwrap(), 5);
            }
            for spinner in spinners {
                spinner.abort();
                assert!(spinner.await.unwrap_err().is_cancelled());
            }
        });
    });
}

#[test]
fn a_call_whose_deadline_has_passed_yields_first() {
    let engine = engine();
    let (mut store, instance) = plain_guests(&engine);
    store.epoch_deadline_async_yield_and_update(1);
    let call = instance
        .get_typed_func::<i32, i32>(&mut store, "call")
        .unwrap();
    engine.increment_epoch();
    engine.increment_epoch();
    let (result, polls) = poll_everywhere(call.call_async(&mut store, 5));
    assert_eq!((result.unwrap(), polls), (5, 2));
}

#[test]
fn a_store_that_goes_to_another_os_thread_is_interrupted_there() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let call = instance
            .get_typed_func::<i32, i32>(&mut store, "call")
            .unwrap();
        assert_eq!(call.call(&mut store, 1).unwrap(), 1);
        let (sender, receiver) = mpsc::channel();
        let _ticker = Ticker::new(&engine, micros(500));
        std::thread::spawn(move || {
            let spin = instance
                .get_typed_func::<(), ()>(&mut store, "spin")
                .unwrap();
            store.set_epoch_deadline(1);
            sender.send(spin.call(&mut store, ()).is_err()).unwrap();
        });
        assert!(receiver.recv().unwrap());
    });
}

#[test]
fn a_call_that_yields_first_is_interrupted_on_the_os_thread_where_it_begins() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        store.epoch_deadline_async_yield_and_update(1);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        engine.increment_epoch();
        engine.increment_epoch();
        let mut future = pin!(spin.call_async(&mut store, ()));
        let mut poll = || {
            let mut cx = Context::from_waker(Waker::noop());
            future.as_mut().poll(&mut cx).is_pending()
        };
        // This OS thread lives on.
        assert!(poll());
        let _ticker = Ticker::new(&engine, micros(500));
        std::thread::scope(|scope| assert!(scope.spawn(poll).join().unwrap()));
    });
}

#[test]
fn a_store_that_has_moved_leaves_the_os_thread_alone_that_it_was_on() {
    must_end(|| {
        let engine = engine();
        let (mut moved, instance) = plain_guests(&engine);
        let call = instance
            .get_typed_func::<i32, i32>(&mut moved, "call")
            .unwrap();
        moved.set_epoch_deadline(u64::MAX / 2);
        call.call(&mut moved, 1).unwrap();
        let (mut spinning, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut spinning, "spin")
            .unwrap();
        let (started, has_started) = mpsc::channel();
        spinning.epoch_deadline_callback(move |_| {
            // At the first deadline; the second one ends the guest.
            Ok(match started.send(()) {
                Ok(()) => wasmtime_preempt::wasmtime::UpdateDeadline::Continue(1),
                Err(_) => wasmtime_preempt::wasmtime::UpdateDeadline::Interrupt,
            })
        });
        spinning.set_epoch_deadline(1);
        let incremented = engine.clone();
        let other = std::thread::spawn(move || {
            while has_started.try_recv().is_err() {
                incremented.increment_epoch();
                std::thread::sleep(micros(500));
            }
            // Let it run on, and use the store that was on its OS thread.
            std::thread::sleep(micros(5_000));
            let module = wasmtime_preempt::wasmtime::Module::new(&incremented, "(module)").unwrap();
            wasmtime_preempt::wasmtime::Instance::new(&mut moved, &module, &[]).unwrap();
            drop(has_started);
            incremented.increment_epoch();
        });
        spin.call(&mut spinning, ()).unwrap_err();
        other.join().unwrap();
    });
}
