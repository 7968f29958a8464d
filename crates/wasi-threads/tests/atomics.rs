//! Waiting for an atomic in a thread is as it is for an OS thread.

use crate::support::*;
use preempt_wasi_threads::{Process, ProcessOptions};
use std::time::Instant;
use wasmtime::*;

fn run(source: Preemption, start: &str, thread: &str) -> (Process, RunSummary) {
    let mut store = Store::new(&engine(source), ());
    let wat = format!(
        r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func (export "_start") (local $i i32) {start})
            (func (export "wasi_thread_start") (param $tid i32) (param $arg i32) {thread}))"#
    );
    let process = spawn_wat(&mut store, &wat, ProcessOptions::new());
    let run = store.run_wasm_threads_for(LONG).unwrap();
    (process, run)
}

/// What `_start` leaves at 0 is `expected`.
fn leaves(wat: &str, expected: u32) {
    for source in sources() {
        let (process, _) = run(source, wat, "");
        let outcome = process.outcome().unwrap();
        assert!(outcome.error().is_none(), "{source}: {outcome:?}: {wat}");
        assert_eq!(word(&process, 0), expected, "{source}: {wat}");
    }
}

/// `_start` traps with this.
fn traps(wat: &str, expected: Trap) {
    for source in sources() {
        let (process, _) = run(source, wat, "");
        let outcome = process.outcome().unwrap();
        let error = outcome.error().unwrap();
        assert_eq!(error.downcast_ref(), Some(&expected), "{source}: {wat}");
    }
}

#[test]
fn another_value_is_a_mismatch() {
    leaves(
        "(i32.store (i32.const 0)
            (memory.atomic.wait32 (i32.const 8) (i32.const 1) (i64.const -1)))",
        1,
    );
    leaves(
        "(i32.store (i32.const 0)
            (memory.atomic.wait64 (i32.const 8) (i64.const 0x100000000) (i64.const -1)))",
        1,
    );
}

#[test]
fn time_is_up_not_too_early() {
    for (what, at) in [("32", "(i32.const 0)"), ("64", "(i64.const 0)")] {
        let start = Instant::now();
        let wat = format!(
            "(i32.store (i32.const 0)
                (memory.atomic.wait{what} (i32.const 8) {at} (i64.const 20000000)))"
        );
        leaves(&wat, 2);
        assert!(start.elapsed() >= ms(20) * sources().len() as u32);
        let wat = wat.replace("20000000", "0");
        leaves(&wat, 2);
    }
}

#[test]
fn misaligned_and_out_of_bounds_addresses_trap() {
    let wait32 =
        |at| format!("(drop (memory.atomic.wait32 (i32.const {at}) (i32.const 0) (i64.const -1)))");
    let wait64 =
        |at| format!("(drop (memory.atomic.wait64 (i32.const {at}) (i64.const 0) (i64.const -1)))");
    let notify = |at| format!("(drop (memory.atomic.notify (i32.const {at}) (i32.const 1)))");
    traps(&wait32(2), Trap::HeapMisaligned);
    traps(&wait64(4), Trap::HeapMisaligned);
    traps(&notify(2), Trap::HeapMisaligned);
    traps(&wait32(65_536), Trap::MemoryOutOfBounds);
    traps(&wait64(65_536), Trap::MemoryOutOfBounds);
    traps(&notify(65_536), Trap::MemoryOutOfBounds);
    traps(&wait32(-4), Trap::MemoryOutOfBounds);
    // The last that there is.
    leaves(
        "(i32.store (i32.const 0)
            (memory.atomic.wait64 (i32.const 65528) (i64.const 1) (i64.const -1)))",
        1,
    );
}

/// Those that have waited longest are woken first; and as many as were asked for.
#[test]
fn threads_are_woken_in_the_order_in_which_they_came() {
    let start = "
        (loop $again
            (drop (call $spawn (i32.const 0)))
            (br_if $again (i32.lt_u
                (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
        ;; Until all of them wait.
        (loop $again
            (br_if $again (i32.lt_u (i32.atomic.load (i32.const 12)) (i32.const 5))))
        (loop $again
            (drop (memory.atomic.wait32 (i32.const 100) (i32.const 0) (i64.const 30000000)))
            (local.set $i (memory.atomic.notify (i32.const 8) (i32.const 2)))
            (i32.store (i32.const 0)
                (i32.add (i32.mul (i32.load (i32.const 0)) (i32.const 10)) (local.get $i)))
            (br_if $again (local.get $i)))";
    // Notes when it came and when it went, in words at 16 and at 64.
    let thread = "
        (i32.atomic.store
            (i32.add (i32.const 16) (i32.mul (i32.const 4)
                (i32.atomic.rmw.add (i32.const 12) (i32.const 1))))
            (local.get $tid))
        (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
        (i32.atomic.store
            (i32.add (i32.const 64) (i32.mul (i32.const 4)
                (i32.atomic.rmw.add (i32.const 4) (i32.const 1))))
            (local.get $tid))";
    for source in sources() {
        let (process, run) = run(source, start, thread);
        assert_eq!(run.end, RunEnd::AllFinished);
        assert_eq!(word(&process, 0), 2210, "{source}");
        let words = |at: u64| [0, 4, 8, 12, 16].map(|i| word(&process, at + i));
        assert_eq!(words(16), words(64), "{source}");
        assert_eq!(words(16), [1, 2, 3, 4, 5], "{source}");
    }
}

/// A wait that is over neither waits nor takes a notification.
#[test]
fn one_that_has_timed_out_takes_no_notification() {
    let start = "
        (drop (call $spawn (i32.const 1000000)))
        (drop (call $spawn (i32.const -1)))
        (drop (memory.atomic.wait32 (i32.const 12) (i32.const 0) (i64.const 30000000000)))
        (drop (memory.atomic.wait32 (i32.const 100) (i32.const 0) (i64.const 20000000)))
        (i32.store (i32.const 0) (memory.atomic.notify (i32.const 8) (i32.const 5)))
        (drop (memory.atomic.wait32 (i32.const 100) (i32.const 0) (i64.const 20000000)))";
    let thread = "
        (if (i32.eq (i32.const 2)
            (memory.atomic.wait32 (i32.const 8) (i32.const 0)
                (i64.extend_i32_s (local.get $arg))))
            (then
                (i32.atomic.store (i32.const 12) (i32.const 1))
                (drop (memory.atomic.notify (i32.const 12) (i32.const 1)))))";
    for source in sources() {
        let (process, _) = run(source, start, thread);
        assert!(process.outcome().unwrap().error().is_none());
        assert_eq!(word(&process, 0), 1, "{source}");
    }
}
