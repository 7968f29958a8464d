//! What `poll` returns for lists of pollables.

use crate::p2::support::*;
use crate::support::{Pipe, streams};

#[test]
fn empty_list_traps() {
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &Pipe::default()));
            let trap = guests.trap("(call $poll-list (i32.const 0))").await;
            assert!(trap.contains("empty poll list"), "{trap}");
        });
    }
}

/// Pollables of two inputs and an output, of which some share their stream, among clocks.
const LIST: &str = "
    (local $a i32) (local $b i32) (local $out i32)
    (local.set $a (call $stdin))
    (local.set $b (call $stdin))
    (local.set $out (call $stdout))
    (call $set (i32.const 0) (call $input-ready (local.get $a)))
    (call $set (i32.const 1) (call $output-ready (local.get $out)))
    (call $set (i32.const 2) (call $input-ready (local.get $b)))
    (call $set (i32.const 3) (call $sleep (i64.const 3_600_000_000_000)))
    (call $set (i32.const 4) (call $input-ready (local.get $a)))
    (call $set (i32.const 5) (call $output-ready (local.get $out)))
    (call $set (i32.const 6) (i32.load (i32.const 1024)))
    (call $poll-list (i32.const 7))";

#[test]
fn all_pollables_of_a_stream_are_ready_at_once() {
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let make_ready = || stdin.type_in("hello");
            let ready = guests.wait_beside_another(LIST, make_ready).await;
            assert_eq!(ready, 0b1010101);

            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let make_ready = || stdout.take_more(1);
            let ready = guests.wait_beside_another(LIST, make_ready).await;
            assert_eq!(ready, 0b0100010);
        });
    }
}

#[test]
fn whatever_is_ready_before_does_not_wait() {
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            stdin.type_in("hello");
            stdout.take_more(1);
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            assert_eq!(guests.call(LIST).await, 0b1110111);
        });
    }
}

#[test]
fn first_of_a_clock_and_an_input_ends_the_wait() {
    const CODE: &str = "
        (call $set (i32.const 0) (call $input-ready (call $stdin)))
        (call $set (i32.const 1) (call $sleep (i64.const 20_000_000)))
        (call $poll-list (i32.const 2))";
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &Pipe::default()));
            assert_eq!(guests.call(CODE).await, 0b10);
        });
    }
}

#[test]
fn pollables_can_be_polled_again_and_dropped() {
    // Polls, asks and blocks twice each, and drops the pollables before their streams.
    const CODE: &str = "
        (local $stream i32) (local $pollable i32) (local $clock i32) (local $again i32)
        (local $count i32)
        (local.set $stream (call $stdin))
        (local.set $pollable (call $input-ready (local.get $stream)))
        (local.set $clock (call $sleep (i64.const 1_000_000)))
        (call $set (i32.const 0) (local.get $pollable))
        (call $set (i32.const 1) (local.get $clock))
        (loop $next
          (call $block (local.get $clock))
          (local.set $count (i32.add (local.get $count) (call $ready (local.get $pollable))))
          (local.set $count (i32.add (local.get $count) (call $ready (local.get $clock))))
          (local.set $count (i32.add (local.get $count) (call $poll-list (i32.const 2))))
          (local.set $again (i32.eqz (local.get $again)))
          (br_if $next (local.get $again)))
        (call $drop-pollable (local.get $pollable))
        (call $drop-pollable (local.get $clock))
        (call $drop-input (local.get $stream))
        (local.get $count)";
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &Pipe::default()));
            assert_eq!(guests.call(CODE).await, 2 * (1 + 0b10));
            // Only what the standard streams share.
            assert_eq!(guests.store.data_mut().table.iter_mut().count(), 1);
        });
    }
}
