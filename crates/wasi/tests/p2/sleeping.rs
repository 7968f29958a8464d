//! Guests that sleep, with and without a runtime of tokio's.

use crate::p2::support::*;
use crate::support::{HANG, ms};
use std::time::{Duration, Instant};
use wasmtime::RunEnd;
use wasmtime_wasi::WasiCtxBuilder;

const SLEEP: &str = "(call $block (call $sleep (local.get $arg))) (i32.const 1)";

#[test]
fn sleep_lasts_as_long_as_it_should() {
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let guest = guests.guest(SLEEP).await;
            let start = Instant::now();
            let sleeper = guests.start(&guest, (30_000_000,));
            guests.finish().await;
            assert_eq!(guests.returned(&sleeper), 1);
            assert!(start.elapsed() >= ms(30));
        });
    }
}

#[test]
fn sleep_of_no_time_or_of_an_age_is_fine() {
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let code = "
                (local $pollable i32)
                (call $block (call $sleep (i64.const 0)))
                (local.set $pollable (call $sleep (i64.const -1)))
                (call $ready (local.get $pollable))
                (call $drop-pollable (local.get $pollable))";
            assert_eq!(guests.call(code).await, 0);
        });
    }
}

const MANY: usize = 1000;

#[test]
fn a_thousand_sleep_at_the_same_time_and_all_wake() {
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let guest = many(&mut guests).await;
            // On some machines, it takes longer until all of them sleep.
            let mut nanoseconds = 1_000_000_000;
            let sleepers = loop {
                let sleepers = sleep(&mut guests, &guest, nanoseconds);
                let mut all_sleep = false;
                guests
                    .run_until(|guests| {
                        all_sleep = sleepers.iter().all(|sleeper| guests.waits(sleeper));
                        all_sleep || sleepers.iter().any(|sleeper| guests.finished(sleeper))
                    })
                    .await;
                guests.finish().await;
                if all_sleep {
                    break sleepers;
                }
                nanoseconds *= 2;
            };
            let mut dispatches = 0;
            for sleeper in &sleepers {
                dispatches += guests.stats(sleeper).dispatches;
                assert_eq!(guests.returned(sleeper), 1);
            }
            // One to fall asleep and one to return, and a few that slices or runs cut short.
            assert!(dispatches < 3 * MANY as u64, "{dispatches}");
        });
    }
}

#[test]
fn sleepers_use_no_cpu() {
    const HOUR: u64 = 3_600_000_000_000;
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let guest = many(&mut guests).await;
            let sleepers = sleep(&mut guests, &guest, HOUR);
            let all_sleep = |guests: &Guests| sleepers.iter().all(|sleeper| guests.waits(sleeper));
            guests.run_until(all_sleep).await;
            let run = guests.run(ms(200)).await;
            assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
            if kind.executor == Executor::NoRuntime {
                let run = guests.store.run_wasm_threads_async(Duration::MAX);
                // Nobody polls it.
                assert!(Polling::new(run).poll_for(ms(200), HANG).is_none());
            }
        });
    }
}

/// Functions of as many instances.
async fn many(guests: &mut Guests) -> Vec<Run> {
    let component = guests.component(SLEEP);
    let mut many = Vec::new();
    for _ in 0..MANY {
        let instance = guests.instance(&component).await;
        many.push(instance.get_typed_func(&mut guests.store, "run").unwrap());
    }
    many
}

fn sleep(guests: &mut Guests, many: &[Run], nanoseconds: u64) -> Vec<Thread> {
    many.iter()
        .map(|guest| guests.start(guest, (nanoseconds,)))
        .collect()
}
