//! Threads that wait are parked, and their siblings run.

use crate::p2::support::*;
use crate::support::{Pipe, ms, streams};
use std::thread;
use wasmtime::preempt::WaitFor;
use wasmtime_wasi::WasiCtxBuilder;

/// Code that waits for five bytes to read, or for space to write them, and what it returns.
pub const WAITS: [(&str, u32); 8] = [
    (
        "(call $block (call $input-ready (call $stdin))) (i32.const 1)",
        1,
    ),
    (
        "(call $set (i32.const 0) (call $input-ready (call $stdin))) (call $poll-list (i32.const 1))",
        1,
    ),
    (READ, 5),
    (
        "(call $blocking-skip (call $stdin) (i64.const 16) (i32.const 0))
         (call $expect) (i32.load (i32.const 8))",
        5,
    ),
    (
        "(call $blocking-write (call $stdout) (i32.const 1024) (i32.const 5) (i32.const 0))
         (call $expect) (i32.const 2)",
        2,
    ),
    (
        "(call $blocking-zeroes (call $stdout) (i64.const 5) (i32.const 0))
         (call $expect) (i32.const 3)",
        3,
    ),
    (
        "(call $blocking-flush (call $stdout) (i32.const 0)) (call $expect) (i32.const 4)",
        4,
    ),
    (
        "(call $blocking-splice (call $stdout) (call $stdin) (i64.const 16) (i32.const 0))
         (call $expect) (i32.load (i32.const 8))",
        5,
    ),
];

#[test]
fn every_function_that_waits_parks_its_thread() {
    for kind in kinds() {
        for (code, returned) in WAITS {
            kind.run(async {
                let (stdin, stdout) = (Pipe::default(), Pipe::default());
                let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
                let waiting = guests.spawn(code).await;
                guests.run_another_beside(&[&waiting]).await;
                let waits_for = waiting.info(&guests.store).unwrap().waits_for;
                assert!(matches!(waits_for, Some(WaitFor::Future)), "{code}");
                stdin.type_in("hello");
                stdout.take_more(100);
                guests.finish().await;
                assert_eq!(guests.returned(&waiting), returned, "{code}");
            });
        }
    }
}

#[test]
fn input_from_another_os_thread_wakes_who_waits() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let typist = thread::spawn(move || {
                thread::sleep(ms(30));
                stdin.type_in("hello");
            });
            assert_eq!(guests.call(READ).await, 5);
            typist.join().unwrap();
        });
    }
}

#[test]
fn standard_input_of_the_runtime_can_be_waited_for() {
    use tokio::io::AsyncWriteExt;
    use wasmtime_wasi::cli::AsyncStdinStream;
    for kind in kinds() {
        kind.run(async {
            let (mut keyboard, stdin) = tokio::io::duplex(64);
            let mut wasi = WasiCtxBuilder::new();
            wasi.stdin(AsyncStdinStream::new(stdin));
            let mut guests = Guests::new(kind, &mut wasi);
            let reader = guests.spawn(READ).await;
            guests.run_another_beside(&[&reader]).await;
            keyboard.write_all(b"hello").await.unwrap();
            guests.finish().await;
            assert_eq!(guests.returned(&reader), 5);
        });
    }
}

#[test]
fn two_instances_may_wait_for_standard_input() {
    const SKIP: &str = "
        (call $blocking-skip (call $stdin) (i64.const 16) (i32.const 0))
        (call $expect) (i32.load (i32.const 8))";
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let waiting = [guests.spawn(SKIP).await, guests.spawn(SKIP).await];
            guests.run_another_beside(&waiting.each_ref()).await;
            stdin.type_in("0123456789abcdefghijklmno");
            guests.finish().await;
            let mut lens = waiting.map(|thread| guests.returned(&thread));
            lens.sort();
            assert_eq!(lens, [9, 16]);
        });
    }
}

#[test]
fn calls_of_one_instance_take_turns() {
    // Traps if it is entered while it waits.
    const CODE: &str = "
        (if (i32.load (i32.const 2000)) (then unreachable))
        (i32.store (i32.const 2000) (i32.const 1))
        (call $blocking-read (call $stdin) (i64.const 5) (i32.const 0))
        (i32.store (i32.const 2000) (i32.const 0))
        (call $expect)
        (i32.load (i32.const 8))";
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let guest = guests.guest(CODE).await;
            let calls = [0, 1].map(|_| guests.start(&guest, (0,)));
            guests.run_another_beside(&calls.each_ref()).await;
            stdin.type_in("helloworld");
            guests.finish().await;
            for call in calls {
                assert_eq!(guests.returned(&call), 5);
            }
        });
    }
}
