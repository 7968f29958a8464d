//! Threads that wait beside threads that never do.

use crate::p2::support::*;
use crate::support::{HANG, Pipe, ms, streams};
use std::thread;
use std::time::Instant;
use wasmtime::RunEnd;

const SPIN: &str = "(loop $again (br $again)) unreachable";

#[test]
fn those_that_spin_run_on_and_the_one_that_waits_does_not() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let reader = guests.spawn(READ).await;
            let spinners = [guests.spawn(SPIN).await, guests.spawn(SPIN).await];
            guests.run_until(|guests| guests.waits(&reader)).await;
            let dispatches = guests.stats(&reader).dispatches;
            guests
                .run_until(|guests| {
                    let preempted = |spinner| guests.stats(spinner).preemptions >= 5;
                    spinners.iter().all(preempted)
                })
                .await;
            assert!(guests.waits(&reader));
            assert_eq!(guests.stats(&reader).dispatches, dispatches);

            stdin.type_in("hello");
            guests.run_until(|guests| guests.finished(&reader)).await;
            assert_eq!(guests.returned(&reader), 5);
            for spinner in spinners {
                spinner.kill(&mut guests.store).unwrap();
            }
            guests.finish().await;
        });
    }
}

#[test]
fn input_preempts_one_that_spins_alone() {
    const ECHO: &str = "
        (call $blocking-read (call $stdin) (i64.const 16) (i32.const 0))
        (call $expect)
        (call $blocking-write (call $stdout)
          (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 0))
        (call $expect)
        (i32.const 1)";
    // Writes a zero.
    const BEGIN: &str = "
        (call $blocking-zeroes (call $stdout) (i64.const 1) (i32.const 0))";
    for kind in kinds() {
        kind.run(async {
            let (stdin, stdout) = (Pipe::default(), Pipe::default());
            stdout.take_more(100);
            let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
            let echo = guests.spawn(ECHO).await;
            let spinner = guests.spawn(&format!("{BEGIN} {SPIN}")).await;
            let remote = spinner.remote(&mut guests.store).unwrap();
            let typist = thread::spawn(move || {
                let wait_for = |text| {
                    let start = Instant::now();
                    while stdout.written() != text && start.elapsed() < HANG {
                        thread::sleep(ms(1));
                    }
                };
                wait_for("\0");
                thread::sleep(ms(20));
                stdin.type_in("hello");
                wait_for("\0hello");
                remote.kill();
                stdout.written()
            });
            // All in one run: the typist ends it.
            assert_eq!(guests.run(3 * HANG).await.end, RunEnd::AllFinished);
            assert_eq!(guests.returned(&echo), 1);
            assert_eq!(typist.join().unwrap(), "\0hello");
        });
    }
}
