//! Guests with threads of their own.

mod common;

use common::{bad_usage, each_mode, file, last_line, read, rows, run, signals_work};
use serde_json::{Value, json};

#[test]
fn programs_end_with_their_last_line() {
    for mode in each_mode() {
        for (guest, line, threads) in [
            ("threads/hello.wasm", "hello from main", 4),
            ("threads/queue.wasm(3,3,2000)", "2000 items, sum 2001000", 7),
            (
                "threads/rwlock.wasm(2,2,2000)",
                "4000 reads, 4000 writes, 0 torn",
                5,
            ),
            ("threads/churn.wasm(200)", "200 threads, sum 21300", 201),
            ("threads/exit.wasm(grow)", "grew by 32 pages", 5),
            ("threads/assembly.wasm", "216816 primes below 3000000", 5),
        ] {
            let ran = mode.run(&["--json", guest]).expect(0);
            assert_eq!(last_line(&ran), line, "{}", mode.name);
            let json = ran.json();
            assert_eq!(json["end"], "all_finished");
            let row = &rows(&json)[0];
            assert_eq!(row["exit"], "returned");
            assert_eq!(row["threads"], threads, "{guest}");
        }
    }
}

#[test]
fn threads_that_spin_are_preempted() {
    for mode in each_mode() {
        let slice = match mode.name {
            "fuel" => "--slice=10000",
            "epoch" => "--slice=1ms",
            _ => "--slice=200us",
        };
        let ran = mode
            .run(&["--json", slice, "threads/spin.wasm(4,200)"])
            .expect(0);
        assert_eq!(last_line(&ran), "counted 800");
        let json = ran.json();
        assert!(json["preemptions"].as_u64().unwrap() > 0, "{json}");
    }
}

#[test]
fn figures_are_those_of_all_threads_together() {
    for mode in each_mode() {
        let ran = mode
            .run(&[
                "--json",
                "threads/queue.wasm(2,2,500)",
                "threads/hello.wasm",
                "fib.wat:fib(5)",
            ])
            .expect(0);
        let json = ran.json();
        for field in ["slices", "preemptions"] {
            let of = |row: &Value| row[field].as_u64().unwrap();
            let sum: u64 = rows(&json).iter().map(of).sum();
            assert_eq!(Some(sum), json[field].as_u64(), "{field}: {json}");
        }
        assert!(rows(&json)[0]["slices"].as_u64().unwrap() > 5, "{json}");
        assert_eq!(rows(&json)[0]["fuel"].is_u64(), mode.name == "fuel");
        let [queue, hello, fib] = [0, 1, 2].map(|index| &rows(&json)[index]);
        assert_eq!(
            (&queue["threads"], &hello["threads"]),
            (&json!(5), &json!(4))
        );
        assert_eq!(
            queue["ended_by"],
            json!({
                "thread": queue["thread"], "name": "threads/queue.wasm(2,2,500)"
            })
        );
        assert_eq!(queue["other_threads"], json!([]));
        assert_eq!(
            (&fib["threads"], &fib["ended_by"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[test]
fn column_counts_threads_where_a_guest_can_start_some() {
    let ran = run(&["threads/hello.wasm", "fib.wat:fib(5)"]).expect(0);
    let words = |guest: &str| {
        let line = ran
            .stdout
            .lines()
            .find(|line| line.contains(guest))
            .unwrap();
        line.split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words("guest")[..5],
        ["thread", "guest", "exit", "results", "threads"]
    );
    assert_eq!(
        words("hello.wasm")[..4],
        ["1", "threads/hello.wasm", "returned", "4"]
    );
    assert_eq!(
        words("fib")[..5],
        ["2", "fib.wat:fib(5)", "returned", "5", "1"]
    );
    let ran = run(&["fib.wat:fib(5)"]).expect(0);
    assert!(!ran.stdout.contains("threads"), "{}", ran.stdout);
}

#[test]
fn threads_sleep_at_the_same_time() {
    for mode in each_mode() {
        let ran = mode.run(&["--json", "threads/sleepers.wasm(50)"]).expect(0);
        assert_eq!(last_line(&ran), "slept 50");
        // One by one they take 2.5 s.
        let elapsed = ran.json()["elapsed_ms"].as_f64().unwrap();
        assert!((100.0..2500.0).contains(&elapsed), "{elapsed} ms");
    }
}

#[test]
fn library_that_knows_of_no_guest_threads_compresses() {
    let expected = read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/threads/zstd.expected"
    ));
    for mode in each_mode() {
        let ran = mode.run(&["--json", "threads/zstd.wasm"]).expect(0);
        assert_eq!(
            Some(last_line(&ran)),
            expected.lines().next(),
            "{}",
            mode.name
        );
    }
}

#[test]
fn modules_that_are_no_programs_are_refused() {
    let no_start = file(
        "threads-no-start.wat",
        r#"(module (import "env" "memory" (memory 1 1 shared)) (func (export "run")))"#,
    );
    bad_usage(
        &[&no_start],
        &["env::memory", "with a `_start` also shared memories"],
    );
    let other_import = file(
        "threads-other-import.wat",
        r#"(module (import "env" "memory" (memory 1 1 shared)) (import "env" "other" (func))
            (func (export "_start")))"#,
    );
    bad_usage(
        &[&other_import],
        &["it imports env::other, which this command does not provide"],
    );
    let other_type = file(
        "threads-other-type.wat",
        r#"(module (import "env" "memory" (memory 1 1 shared))
            (import "wasi_snapshot_preview1" "sched_yield" (func (param i32)))
            (func (export "_start")))"#,
    );
    bad_usage(&[&other_type], &["cannot run", "sched_yield"]);
}

#[test]
fn program_without_threads_may_have_a_shared_memory() {
    let wat = file(
        "threads-only-memory.wat",
        r#"(module (import "env" "memory" (memory 1 1 shared))
            (func (export "_start") (i32.atomic.store (i32.const 0) (i32.const 1))))"#,
    );
    let ran = run(&["--json", &wat]).expect(0);
    assert_eq!(rows(&ran.json())[0]["threads"], 1);
    assert_eq!(ran.json()["preemption"] == "signal", signals_work());
}

#[test]
fn program_that_never_spawns_needs_nothing_for_threads() {
    const SPAWN: &str = r#"(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))"#;
    let never = file(
        "threads-never.wat",
        format!(r#"(module {SPAWN} (memory (export "memory") 1) (func (export "_start")))"#),
    );
    // The error is wasi-threads' own.
    let refused = file(
        "threads-refused.wat",
        format!(
            r#"(module {SPAWN} (func (export "_start")
                (if (i32.ne (call $spawn (i32.const 0)) (i32.const -6))
                    (then (unreachable)))))"#
        ),
    );
    for mode in each_mode() {
        let ran = mode.run(&["--json", &never, &refused]).expect(0);
        for row in rows(&ran.json()) {
            assert_eq!(
                (&row["exit"], &row["threads"]),
                (&json!("returned"), &json!(1))
            );
        }
    }
}

#[test]
fn guest_has_no_more_threads_than_it_may() {
    // Starts threads that wait, until it cannot, and exits with their number.
    let guest = file(
        "threads-many.wat",
        r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (export "memory" (memory 0))
            (func (export "wasi_thread_start") (param i32 i32)
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
            (func (export "_start") (local $started i32) (local $got i32)
                (loop $more
                    (if (i32.gt_s (local.tee $got (call $spawn (i32.const 0))) (i32.const 0))
                        (then
                            (local.set $started
                                (i32.add (local.get $started) (i32.const 1)))
                            (br $more))))
                (if (i32.ne (local.get $got) (i32.const -6)) (then (unreachable)))
                (call $exit (local.get $started))))"#,
    );
    for mode in each_mode() {
        mode.run(&["--max-threads=5", &guest]).expect(4);
        mode.run(&["--max-threads=1", &guest]).expect(0);
        let ran = mode
            .run(&[
                "--json",
                "--max-threads=3",
                "--max-threads=2=9",
                &guest,
                &guest,
            ])
            .expect(1);
        let json = ran.json();
        let codes = rows(&json).iter().map(|row| row["code"].as_u64());
        assert!(codes.eq([Some(2), Some(8)]), "{}", ran.stdout);
    }
    let guest = "threads/hello.wasm";
    bad_usage(
        &["--max-threads=0", guest],
        &["a number of threads above zero"],
    );
    bad_usage(&["--max-threads=10001", guest], &["from 1 to 10000"]);
    bad_usage(&["--max-threads=2=3", guest], &["there is no guest `2`"]);
}
