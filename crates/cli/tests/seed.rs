//! `--seed` repeats a run, with what guests leave to chance.

mod common;

use common::{Ran, bad_usage, each_mode, file, out, read, rows, run};
use serde_json::Value;

/// Sleeps for an hour, and returns a random number and what its clocks show then.
fn by_chance() -> String {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $now (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get"
            (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func $read (param i32) (result i64)
            (drop (call $now (local.get 0) (i64.const 1) (i32.const 200)))
            (i64.load (i32.const 200)))
        (func (export "run") (result i64 i64 i64)
            (i64.store (i32.const 24) (i64.const 3600000000000))
            (i32.store (i32.const 16) (i32.const 1))
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
            (drop (call $random (i32.const 208) (i32.const 8)))
            (i64.load (i32.const 208))
            (call $read (i32.const 0))
            (call $read (i32.const 1))))"#;
    format!("{}:run", file("seed-by-chance.wat", wat))
}

/// Traps with most seeds, but not with all: its random number decides.
fn traps_by_chance() -> String {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "random_get"
            (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $random (i32.const 0) (i32.const 1)))
            (if (i32.lt_u (i32.load8_u (i32.const 0)) (i32.const 40)) (then (unreachable)))))"#;
    file("seed-traps.wat", wat)
}

/// What the guests returned.
fn results(ran: &Ran) -> Vec<Value> {
    let json = ran.json();
    rows(&json)
        .iter()
        .map(|row| row["results"].clone())
        .collect()
}

#[test]
fn guests_have_the_same_random_numbers_and_clocks_again() {
    let guest = by_chance();
    for policy in [
        &["--policy=random"][..],
        &["--policy=pct"],
        &["--policy=round-robin"],
        &["--policy=fair", "--weight=1=3"],
    ] {
        let with = |seed: &str| {
            let options = ["--json", "--preemption=fuel", "--slice=100", seed];
            let guests = [&*guest, "fib.wat:fib(15)", &guest];
            results(&run(&[&options, policy, &guests[..]].concat()).expect(0))
        };
        let first = with("--seed=7");
        assert_eq!(with("--seed=7"), first, "{policy:?}");
        // The guests have random numbers of their own, and the seed decides about them.
        assert_ne!(first[0][0], first[2][0]);
        assert_ne!(with("--seed=8")[0][0], first[0][0]);
        // They have slept, from 2000-01-01 on, and nobody had to wait.
        const HOUR: u64 = 3_600_000_000_000;
        let clock = |i: usize| first[0][i].as_u64().unwrap();
        assert!((HOUR..HOUR + 1_000_000).contains(&clock(2)), "{first:?}");
        let start = 946_684_800_000_000_000 + HOUR;
        assert!((start..start + 1_000_000).contains(&clock(1)), "{first:?}");
    }
}

#[test]
fn seed_that_a_search_has_found_repeats_the_run() {
    let guest = traps_by_chance();
    let options = ["--preemption=fuel", "--policy=random"];
    let searched = run(&[&options[..], &["--search=100", "--json", &guest]].concat()).expect(1);
    let found = searched.json()["search"]["found"].as_u64().unwrap();
    let seed = format!("--seed={found}");
    let schedule = out("seed-found.schedule");
    for _ in 0..6 {
        run(&[&options[..], &[&seed, "--record", &schedule, &guest]].concat()).expect(134);
    }
    // The seeds before it went well, with the same numbers.
    for seed in 0..found {
        run(&[&options[..], &["--seed", &seed.to_string(), &guest]].concat()).expect(0);
    }
    // Its schedule has the seed.
    assert!(read(&schedule).contains(&format!("\nseed {found}\n")));
    for _ in 0..6 {
        run(&["--preemption=fuel", "--replay", &schedule, &guest]).expect(134);
    }
    bad_usage(
        &[
            "--preemption=fuel",
            "--replay",
            &schedule,
            "--seed=3",
            &guest,
        ],
        &["--seed 3 has no effect", "recorded schedule"],
    );
}

#[test]
fn a_drawn_seed_is_told_and_repeats_the_run() {
    let guest = by_chance();
    let options = ["--json", "--preemption=fuel", "--policy=random"];
    let first = run(&[&options[..], &[&guest]].concat()).expect(0);
    let (_, rest) = first.stderr.split_once("--policy random: --seed ").unwrap();
    let (seed, rest) = rest.split_once(' ').unwrap();
    assert_eq!(rest, "repeats this run\n");
    let again = run(&[&options[..], &["--seed", seed, &guest]].concat()).expect(0);
    assert_eq!(results(&again), results(&first));
    assert_eq!(again.stderr, "");
}

#[test]
fn slices_of_time_are_said_not_to_repeat_a_run() {
    let guest = "fib.wat:fib(5)";
    for mode in each_mode().filter(|mode| mode.name != "fuel") {
        for options in [&["--policy=random"][..], &["--policy=pct", "--seed=5"]] {
            let ran = mode.run(&[options, &[guest]].concat()).expect(0);
            let says = "repeats these picks, but not the run, because slices are time";
            assert!(ran.stderr.contains(says), "{}", ran.stderr);
            assert!(ran.stderr.contains("--preemption fuel"), "{}", ran.stderr);
        }
        bad_usage(
            &["--preemption", mode.name, "--seed=5", guest],
            &[
                "--seed 5 has no effect with --policy round-robin",
                "--preemption fuel",
            ],
        );
    }
}

#[test]
fn atomic_waits_and_sleeps_follow_the_fuel() {
    // The first sleeps for an hour, the second waits half as long, and both are woken in
    // this order in no time.
    let wat = r#"(module
        (import "preempt" "sleep" (func $sleep (param i64)))
        (memory 1 1 shared)
        (func (export "sleep") (call $sleep (i64.const 3600000000000)))
        (func (export "wait") (result i32)
            (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1800000000000))))"#;
    let guest = file("seed-waits.wat", wat);
    let guests = [format!("{guest}:sleep"), format!("{guest}:wait")];
    let args = [
        "--json",
        "--preemption=fuel",
        "--seed=1",
        &guests[0],
        &guests[1],
    ];
    let ran = run(&args).expect(0);
    assert_eq!(results(&ran)[1][0], 2);
}

#[test]
fn guests_that_print_faster_than_anybody_reads_are_repeated() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n")
        (data (i32.const 100) "\00\00\00\00\40\00\00\00")
        (func (export "_start") (local $i i32)
            (loop $again
                (drop (call $write
                    (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 120)))
                (br_if $again (i32.gt_u (i32.const 10000)
                    (local.tee $i (i32.add (local.get $i) (i32.const 1))))))))"#;
    // 640 KB each, ten times what waits for its reader otherwise.
    let guest = file("seed-prints.wat", wat);
    let options = [
        "--json",
        "--preemption=fuel",
        "--policy=random",
        "--seed=11",
        "--slice=500",
    ];
    let figures = || {
        let ran = run(&[&options[..], &[&guest, &guest]].concat()).expect(0);
        assert_eq!(ran.stderr.lines().count(), 20_000);
        let json = ran.json();
        let figures = |row: &Value| ["slices", "preemptions", "fuel"].map(|key| row[key].clone());
        rows(&json).iter().map(figures).collect::<Vec<_>>()
    };
    let first = figures();
    for _ in 0..3 {
        assert_eq!(figures(), first);
    }
}
