//! CPU time is what calls of the store use, and nothing else.
#![cfg(target_os = "linux")]

use super::support::*;
use crate::support::must_end;
use std::time::{Duration, Instant};
use wasmtime_preempt::wasmtime::preempt::TimeDeadline;
use wasmtime_preempt::wasmtime::{Linker, Module, Store};

#[test]
fn what_the_os_thread_does_between_calls_is_not_counted() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            let nop = export::<(), ()>(&mut store, &instance, "nop");
            store.set_time_deadline(cpu(1_000)).unwrap();
            for _ in 0..30 {
                nop.call(&mut store, ()).unwrap();
                burn(Duration::from_millis(50));
            }
        }
    });
}

#[test]
fn waiting_for_a_host_future_is_not_counted() {
    must_end(|| {
        for engine in engines() {
            let mut linker = Linker::new(&engine);
            linker
                .func_wrap_async("host", "call", |_, (value,): (i32,)| {
                    Box::new(async move {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        value
                    })
                })
                .unwrap();
            let module = Module::new(&engine, GUESTS).unwrap();
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            runtime().block_on(async {
                // Others use the OS thread while the call waits.
                tokio::spawn(async {
                    loop {
                        burn(Duration::from_millis(1));
                        tokio::task::yield_now().await;
                    }
                });
                let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
                let call = export::<i32, i32>(&mut store, &instance, "call");
                store.set_time_deadline(cpu(10_000)).unwrap();
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(300) {
                    assert_eq!(call.call_async(&mut store, 5).await.unwrap(), 5);
                }
                let Some(TimeDeadline::Cpu(left)) = store.time_deadline() else {
                    panic!("{:?}", store.time_deadline());
                };
                let used = Duration::from_secs(10) - left;
                // What the guest used is in it, and what others used meanwhile is not.
                assert!(used > Duration::ZERO, "{used:?}");
                assert!(used < start.elapsed() * 3 / 4, "{used:?}");
            });
        }
    });
}

#[test]
fn what_several_calls_use_adds_up() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            let sum = export::<i64, i64>(&mut store, &instance, "sum");
            store.set_time_deadline(cpu(20)).unwrap();
            let start = Instant::now();
            let error = loop {
                if let Err(error) = sum.call(&mut store, 100_000) {
                    break error;
                }
            };
            assert_reached(&error, cpu(20));
            assert!(start.elapsed() >= Duration::from_millis(20));
            assert_eq!(store.time_deadline(), Some(cpu(0)));
        }
    });
}
