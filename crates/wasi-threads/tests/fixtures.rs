//! Each program in `fixtures/threads` prints what it should, whatever preempts it.

use crate::support::*;
use wasmtime::*;

/// Name, arguments, the last line, the status.
const PROGRAMS: &[(&str, &[&str], &str, i32)] = &[
    ("hello", &[], "hello from main", 0),
    ("queue", &["4", "4", "2000"], "2000 items, sum 2001000", 0),
    (
        "rwlock",
        &["4", "2", "1000"],
        "4000 reads, 2000 writes, 0 torn",
        0,
    ),
    ("barrier", &[], "1000 rounds, checksum 3d49224c9d46369a", 0),
    ("spin", &["4", "2000"], "counted 8000", 0),
    ("exit", &["grow"], "grew by 32 pages", 0),
    ("exit", &["no mode"], "exit return, exit, trap or grow", 2),
    ("sleepers", &["4"], "slept 4", 0),
    ("assembly", &[], "216816 primes below 3000000", 0),
];

#[test]
fn they_end_as_they_should() {
    for source in sources() {
        let engine = engine(source);
        for (name, args, line, status) in PROGRAMS {
            let module = fixture(&engine, name);
            let guest = run(&engine, &module, args, short_slice(source));
            let expected = (line.to_string(), *status);
            assert_eq!(guest.end(), expected, "{name} {args:?}, {source}");
        }
    }
}

#[test]
fn hello_prints_each_line_once() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "hello");
        let guest = run(&engine, &module, &[], short_slice(source));
        let stdout = guest.stdout();
        let mut lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines.pop(), Some("hello from main"));
        lines.sort();
        let threads = [1, 2, 3].map(|n| format!("hello from thread {n}"));
        assert_eq!(lines, threads, "{source}");
    }
}

/// The same with the slices that a store has by default, and as much as there is to do by
/// default.
#[test]
#[ignore = "takes a while"]
fn they_end_as_they_should_in_full() {
    for source in sources() {
        let engine = engine(source);
        for (name, line) in [
            ("queue", "20000 items, sum 200010000"),
            ("rwlock", "80000 reads, 40000 writes, 0 torn"),
            ("spin", "counted 80000"),
            ("sleepers", "slept 8"),
        ] {
            let module = fixture(&engine, name);
            let slice = match source {
                Preemption::Fuel => Slice::Fuel(1_000_000),
                _ => Slice::Time(ms(1)),
            };
            let guest = run(&engine, &module, &[], slice);
            assert_eq!(guest.end(), (line.to_string(), 0), "{name}, {source}");
        }
    }
}

/// A program without threads is a process of one.
#[test]
fn a_module_without_threads_is_a_process_too() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "../echo");
        let guest = run(&engine, &module, &["a", "b"], short_slice(source));
        assert!(guest.stdout().contains('b'), "{}", guest.stdout());
        assert_eq!(guest.end().1, 0);
        assert!(guest.process.memory().is_none());
        assert_eq!(guest.process.stats().most_threads, 1);
    }
}
