//! A call that yields at each deadline shares its OS thread, and is still the same call.

use super::support::*;
use crate::support::must_end;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime_preempt::wasmtime::preempt::TimeDeadline;

#[test]
fn a_timeout_ends_a_guest_that_spins() {
    must_end(|| {
        for engine in engines() {
            runtime().block_on(async {
                let mut calls = Vec::new();
                for _ in 0..4 {
                    let (mut store, instance) = plain_guests(&engine);
                    let spin = export::<(), ()>(&mut store, &instance, "spin");
                    calls.push(tokio::spawn(async move {
                        store.time_deadline_async_yield_and_update(wall(1));
                        store.set_time_deadline(wall(1)).unwrap();
                        let call = spin.call_async(&mut store, ());
                        tokio::time::timeout(Duration::from_millis(20), call)
                            .await
                            .unwrap_err();
                        store
                    }));
                }
                for call in calls {
                    let mut store = call.await.unwrap();
                    // A future that was dropped leaves no timer.
                    assert!(store.time_deadline().is_some());
                    store.clear_time_deadline();
                }
            });
        }
    });
}

#[test]
fn a_future_that_moves_between_os_threads_has_the_same_result() {
    must_end(|| {
        for engine in engines() {
            for deadline in [TimeDeadline::Wall, TimeDeadline::Cpu] {
                let deadline = deadline(Duration::from_micros(200));
                let (mut store, instance) = plain_guests(&engine);
                let sum = export::<i64, i64>(&mut store, &instance, "sum");
                let expected = sum.call(&mut store, 2_000_000).unwrap();
                store.time_deadline_async_yield_and_update(deadline);
                let mut polls = 0;
                while polls < 50 {
                    store.set_time_deadline(deadline).unwrap();
                    let mut call = pin!(sum.call_async(&mut store, 2_000_000));
                    let result = loop {
                        let poll = || call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        let poll = std::thread::scope(|scope| scope.spawn(poll).join().unwrap());
                        polls += 1;
                        if let Poll::Ready(result) = poll {
                            break result;
                        }
                    };
                    assert_eq!(result.unwrap(), expected);
                }
            }
        }
    });
}
