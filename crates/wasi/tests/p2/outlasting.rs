//! Waits that outlast the run that they began in.

use crate::p2::support::*;
use crate::support::{HANG, Pipe, ms, streams};
use std::time::Duration;

/// Writes what it has read.
const ECHO: &str = "
    (call $blocking-read (call $stdin) (i64.const 16) (i32.const 0))
    (call $expect)
    (call $blocking-write (call $stdout)
      (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 0))
    (call $expect)
    (i32.const 1)";

#[test]
fn run_that_ends_leaves_the_waits_to_the_next() {
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let echo = guests.spawn(ECHO).await;
            guests.run_another_beside(&[&echo]).await;
            stdin.type_in("hello");
            // Between two runs, nobody reads it.
            let plain = guests.guest("(i32.const 7)").await;
            let called = plain.call_async(&mut guests.store, (0,)).await;
            assert_eq!(called.unwrap(), (7,));
            assert_eq!(stdin.written(), "hello");

            guests.run_until(|_| stdin.written().is_empty()).await;
            guests.run_another_beside(&[&echo]).await;
            stdout.take_more(100);
            assert_eq!(stdout.written(), "");
            guests.finish().await;
            assert_eq!(guests.returned(&echo), 1);
            assert_eq!(stdout.written(), "hello");
        });
    }
}

#[test]
fn run_that_is_dropped_leaves_the_waits_to_the_next() {
    for kind in kinds().filter(|kind| kind.executor == Executor::NoRuntime) {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let echo = guests.spawn(ECHO).await;
            let mut run = Polling::new(guests.store.run_wasm_threads_async(Duration::MAX));
            assert!(run.poll_for(ms(50), HANG).is_none());
            stdin.type_in("hello");
            assert!(run.poll_for(ms(50), HANG).is_none());
            drop(run);
            assert_eq!(stdin.written(), "");
            stdout.take_more(100);
            guests.finish().await;
            assert_eq!(guests.returned(&echo), 1);
            assert_eq!(stdout.written(), "hello");
        });
    }
}

#[test]
fn store_can_be_dropped_while_guests_wait() {
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &Pipe::default()));
            let waiting = [guests.spawn(READ).await, guests.spawn(SLEEP_LONG).await];
            guests.run_another_beside(&waiting.each_ref()).await;
        });
    }
}
