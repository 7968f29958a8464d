//! Many stores on many OS threads, interrupted all the time, with an executor that moves them.

use super::support::*;
use crate::support::must_end;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Calls guests of `stores` stores on `threads` OS threads until each has been called `calls`
/// times, and for at least `time`.
fn run(threads: usize, stores: usize, calls: u64, time: Duration) {
    must_end(move || {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        store.set_epoch_deadline(u64::MAX / 2);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        let expected = sum.call(&mut store, 50_000).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_time()
            .build()
            .unwrap();
        let _ticker = Ticker::new(&engine, micros(1_000));
        let done = Arc::new(AtomicU64::new(0));
        let end = Instant::now() + time;
        runtime.block_on(async {
            let tasks: Vec<_> = (0..stores)
                .map(|number| {
                    let (engine, done) = (engine.clone(), done.clone());
                    tokio::spawn(async move {
                        let (mut store, instance) = plain_guests(&engine);
                        store.epoch_deadline_async_yield_and_update(1);
                        let sum = instance
                            .get_typed_func::<i64, i64>(&mut store, "sum")
                            .unwrap();
                        let spin = instance
                            .get_typed_func::<(), ()>(&mut store, "call_in_a_loop")
                            .unwrap();
                        let mut times = 0;
                        while times < calls || Instant::now() < end {
                            let result = sum.call_async(&mut store, 50_000).await.unwrap();
                            assert_eq!(result, expected);
                            if number % 8 == 0 {
                                // One that never ends is dropped in the middle.
                                let spin = spin.call_async(&mut store, ());
                                let limit = Duration::from_millis(3);
                                assert!(tokio::time::timeout(limit, spin).await.is_err());
                            }
                            times += 1;
                            done.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        println!("- {} calls of {stores} stores", done.load(Relaxed));
    });
}

#[test]
fn stores_on_many_os_threads_have_the_same_results() {
    run(4, 40, 3, Duration::ZERO);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn two_hundred_stores_on_eight_os_threads_run_for_a_minute() {
    run(8, 200, 3, Duration::from_secs(60));
}
