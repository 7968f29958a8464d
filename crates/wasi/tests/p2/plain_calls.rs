//! Calls that are not guest threads: they keep the store while they wait, as upstream's do.

use crate::p2::support::*;
use crate::p2::waiting::WAITS;
use crate::support::{HANG, Pipe, ms, streams};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Instant;
use tokio::time::timeout;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::add_to_linker_async;

/// Those in which asynchronous calls can be made.
fn asynchronous_kinds() -> impl Iterator<Item = Kind> {
    kinds().filter(|kind| kind.executor != Executor::Synchronous)
}

#[test]
fn plain_calls_keep_the_store_as_upstreams_do() {
    // Upstream's need a runtime.
    for kind in asynchronous_kinds().filter(|kind| kind.executor != Executor::NoRuntime) {
        for add_to_linker in [preempt_wasi::p2::add_to_linker, add_to_linker_async] {
            for (code, returned) in WAITS {
                kind.run(async {
                    let (stdin, stdout) = (Pipe::default(), Pipe::default());
                    let mut wasi = streams(&stdin, &stdout);
                    let mut guests = Guests::linked(kind, &mut wasi, add_to_linker);
                    let waiting = guests.guest(code).await;
                    let other = guests.guest("(i32.const 7)").await;
                    let other_has_run = AtomicBool::new(false);
                    let mut run = pin!(guests.store.run_concurrent(async |accessor| {
                        let mut waiting = pin!(waiting.call_concurrent(accessor, (0,)));
                        let mut other = pin!(other.call_concurrent(accessor, (0,)));
                        poll_fn(|cx| {
                            let waited = waiting.as_mut().poll(cx);
                            if !other_has_run.load(Ordering::Relaxed)
                                && let Poll::Ready(called) = other.as_mut().poll(cx)
                            {
                                other_has_run.store(true, Ordering::Relaxed);
                                assert_eq!(called.unwrap(), (7,), "{code}");
                            }
                            waited
                        })
                        .await
                    }));
                    assert!(timeout(ms(20), &mut run).await.is_err(), "{code}");
                    assert!(!other_has_run.load(Ordering::Relaxed), "{code}");
                    stdin.type_in("hello");
                    stdout.take_more(100);
                    let waited = run.await.unwrap();
                    assert_eq!(waited.unwrap(), (returned,), "{code}");
                });
            }
        }
    }
}

#[test]
fn plain_calls_wait_with_and_without_a_runtime() {
    for kind in asynchronous_kinds() {
        for (code, returned) in WAITS {
            kind.run(async {
                let (stdin, stdout) = (Pipe::default(), Pipe::default());
                let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
                let guest = guests.guest(code).await;
                let other = thread::spawn(move || {
                    thread::sleep(ms(10));
                    stdin.type_in("hello");
                    stdout.take_more(100);
                });
                let called = guest.call_async(&mut guests.store, (0,)).await;
                assert_eq!(called.unwrap(), (returned,), "{code}");
                other.join().unwrap();
            });
        }
    }
}

#[test]
fn plain_calls_sleep() {
    const SLEEP: &str = "(call $block (call $sleep (i64.const 30_000_000))) (i32.const 1)";
    for kind in asynchronous_kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut WasiCtxBuilder::new());
            let guest = guests.guest(SLEEP).await;
            let start = Instant::now();
            let called = guest.call_async(&mut guests.store, (0,)).await;
            assert_eq!(called.unwrap(), (1,));
            assert!(start.elapsed() >= ms(30));
        });
    }
}

#[test]
fn plain_call_that_is_dropped_gives_back_what_was_lent_to_it() {
    for kind in kinds().filter(|kind| kind.executor == Executor::NoRuntime) {
        let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &Pipe::default()));
        let guest = kind.run(guests.guest(READ));
        let mut call = Polling::new(guest.call_async(&mut guests.store, (0,)));
        assert!(call.poll_for(ms(20), HANG).is_none());
        drop(call);
        // The stream, and what the standard streams share.
        assert_eq!(guests.store.data_mut().table.iter_mut().count(), 2);
    }
}
