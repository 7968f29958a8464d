//! Upstream's limits.

use crate::p2::support::*;
use crate::support::{Pipe, streams};

#[test]
fn one_write_is_of_4096_bytes_at_most() {
    for kind in kinds() {
        for call in [
            "(call $blocking-write (call $stdout) (i32.const 1024) (i32.const LEN) (i32.const 0))",
            "(call $blocking-zeroes (call $stdout) (i64.const LEN) (i32.const 0))",
        ] {
            kind.run(async {
                let stdout = Pipe::default();
                stdout.take_more(10_000);
                let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &stdout));
                let code = format!("{call} (call $expect) (i32.const 1)");
                assert_eq!(guests.call(&code.replace("LEN", "4096")).await, 1);
                let trap = guests.trap(&code.replace("LEN", "4097")).await;
                assert!(trap.contains("expected at most 4096"), "{trap}");
                assert_eq!(stdout.written(), "\0".repeat(4096));
            });
        }
    }
}

#[test]
fn write_that_is_larger_than_what_fits_waits_until_all_is_written() {
    const CODE: &str = "
        (call $blocking-zeroes (call $stdout) (i64.const 10) (i32.const 0))
        (call $expect)
        (i32.const 1)";
    for kind in kinds() {
        kind.run(async {
            let stdout = Pipe::default();
            stdout.take_more(4);
            let mut guests = Guests::new(kind, &mut streams(&Pipe::default(), &stdout));
            let make_ready = || {
                assert_eq!(stdout.written(), "\0".repeat(4));
                stdout.take_more(100);
            };
            assert_eq!(guests.wait_beside_another(CODE, make_ready).await, 1);
            assert_eq!(stdout.written(), "\0".repeat(10));
        });
    }
}

#[test]
fn splice_moves_no_more_than_asked() {
    const CODE: &str = "
        (call $blocking-splice (call $stdout) (call $stdin) (i64.const 3) (i32.const 0))
        (call $expect)
        (i32.load (i32.const 8))";
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            stdin.type_in("hello");
            stdout.take_more(100);
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            assert_eq!(guests.call(CODE).await, 3);
            assert_eq!(stdout.written(), "hel");
        });
    }
}
