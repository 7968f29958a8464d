//! Guests with threads of their own.

mod common;

use common::{Ran, bad_usage, each_mode, file, out, read, read_trace, run, signals_work};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// Takes much longer than any test does.
const ENDLESS: &str = "threads/spin.wasm(60,10000000)";

fn rows(json: &Value) -> &Vec<Value> {
    json["threads"].as_array().unwrap()
}

/// What guests have printed, under `--json`, at last.
fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}

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
fn status_of_a_thread_is_that_of_its_program() {
    for mode in each_mode() {
        let ran = mode.run(&["--json", "threads/exit.wasm(exit)"]).expect(1);
        assert_eq!(last_line(&ran), "exits");
        let json = ran.json();
        let row = &rows(&json)[0];
        assert_eq!((&row["exit"], &row["code"]), (&json!("exited"), &json!(7)));
        assert_eq!(row["ended_by"]["name"], "threads/exit.wasm(exit)#5");

        let ran = mode.run(&["threads/exit.wasm(exit,3)"]).expect(1);
        assert!(ran.stdout.contains(" exited 3 "), "{}", ran.stdout);
    }
}

#[test]
fn return_of_the_first_thread_ends_those_that_spin_and_wait() {
    for mode in each_mode() {
        let ran = mode.run(&["--json", "threads/exit.wasm(return)"]).expect(0);
        assert_eq!(last_line(&ran), "returns");
        assert_eq!(rows(&ran.json())[0]["threads"], 5);
    }
}

#[test]
fn trap_names_its_thread_and_ends_no_other_program() {
    for mode in each_mode() {
        let guests = ["threads/exit.wasm(trap)", "threads/queue.wasm(3,3,1000)"];
        let ran = mode.run(&guests).expect(1);
        for line in [
            "1000 items, sum 500500\n",
            "(threads/exit.wasm(trap)#5) trapped: wasm trap: wasm `unreachable`",
            "exit.wasm!trap",
        ] {
            assert!(ran.stdout.contains(line), "{}", ran.stdout);
        }
        let ran = mode.run(&[&["--json"], &guests[..]].concat()).expect(1);
        let json = ran.json();
        assert_eq!(rows(&json)[0]["exit"], "trapped");
        assert_eq!(
            rows(&json)[0]["ended_by"]["name"],
            "threads/exit.wasm(trap)#5"
        );
        assert_eq!(rows(&json)[1]["exit"], "returned");
    }
}

#[test]
fn deadlock_tells_who_waits_for_what() {
    for mode in each_mode() {
        let ran = mode.run(&["threads/deadlock.wasm"]).expect(1);
        for part in [
            "\ndeadlock after ",
            "thread 1 (threads/deadlock.wasm) was waiting for the atomic at 0x",
            "thread 2 (threads/deadlock.wasm#1) was waiting for the atomic at 0x",
            "thread 3 (threads/deadlock.wasm#2) was waiting for the atomic at 0x",
        ] {
            assert!(ran.stdout.contains(part), "{}", ran.stdout);
        }
        let ran = mode.run(&["--json", "threads/deadlock.wasm"]).expect(1);
        let json = ran.json();
        assert_eq!(json["end"], "deadlock");
        let others = rows(&json)[0]["other_threads"].as_array().unwrap();
        assert_eq!(others.len(), 2);
        assert_eq!(others[1]["thread"], 3);
        assert_eq!(others[1]["name"], "threads/deadlock.wasm#2");
        assert!(others[1]["waits_for"].is_string(), "{json}");
    }
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
fn limits_hold_for_all_threads_together() {
    for mode in each_mode() {
        for (limit, name) in [
            ("--cpu-limit=1=200ms", "cpu_limit"),
            ("--fuel-limit=1=3_000_000", "fuel_limit"),
            ("--timeout=1=100ms", "timeout"),
        ] {
            let slice = match mode.name {
                "fuel" => "--slice=100000",
                _ => "--slice=2ms",
            };
            let guests = [ENDLESS, "threads/hello.wasm"];
            let ran = mode
                .run(&[&["--json", slice, limit], &guests[..]].concat())
                .expect(1);
            let json = ran.json();
            assert_eq!(json["end"], "all_finished");
            let row = &rows(&json)[0];
            assert_eq!(row["exit"], "over_limit", "{} {limit}", mode.name);
            assert_eq!(row["limit"]["name"], name);
            assert!(row["threads"].as_u64().unwrap() > 1, "{row}");
            match name {
                // Not so much for each of them.
                "cpu_limit" => {
                    let each = 200.0 * row["threads"].as_f64().unwrap();
                    assert!(row["cpu_time_ms"].as_f64().unwrap() < each, "{row}");
                }
                "fuel_limit" => assert!(row["fuel"].as_u64().unwrap() < 20_000_000, "{row}"),
                _ => {}
            }
            assert_eq!(rows(&json)[1]["exit"], "returned");
        }
    }
}

#[test]
fn limit_and_group_of_threads_do_not_go_together() {
    let args = ["--policy=fair", "--cpu-limit=1s", "threads/hello.wasm"];
    bad_usage(
        &[&["--weight=2"], &args[..]].concat(),
        &["--weight", "`threads/hello.wasm` has threads of its own"],
    );
    run(&args).expect(0);
    // Of other guests they do.
    let args = ["--policy=fair", "--cpu-limit=2=1s", "--weight=2=3"];
    run(&[&args[..], &["threads/hello.wasm", "fib.wat:fib(5)"]].concat()).expect(0);
}

#[test]
fn end_of_the_time_ends_all_threads() {
    for mode in each_mode() {
        let guests = [ENDLESS, "threads/deadlock.wasm"];
        let ran = mode
            .run(&[&["--json", "--for=1s"], &guests[..]].concat())
            .expect(1);
        let json = ran.json();
        assert_eq!(json["end"], "time_up");
        for row in rows(&json) {
            assert_eq!(row["exit"], "stopped");
            assert!(row["threads"].as_u64().unwrap() > 2);
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_all_threads() {
    for mode in each_mode() {
        let child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--preemption", mode.name, "--json"])
            .args([ENDLESS, "threads/sleepers.wasm(64)"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        common::until_it_listens(child.id());
        let killed = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["end"], "interrupted");
        assert_eq!(rows(&json)[0]["exit"], "stopped");
    }
}

const RACE: &str = "threads/race.wasm(2,20,100)";

/// The seed that a search has found.
fn found(ran: &Ran) -> u64 {
    let (_, line) = ran.stdout.rsplit_once("\nseed ").expect(&ran.stdout);
    line.split_once(':').unwrap().0.parse().unwrap()
}

/// What a table says of a run but for its times.
fn figures(ran: &Ran, guest: &str) -> (String, Vec<String>) {
    let (printed, _) = ran.stdout.split_once("thread  guest ").unwrap();
    let row = ran
        .stdout
        .lines()
        .find(|line| line.contains(guest))
        .unwrap();
    let words = row.split_whitespace().map(str::to_string);
    (
        printed.to_string(),
        words
            .filter(|word| !word.contains('.') || word == guest)
            .collect(),
    )
}

#[test]
fn search_finds_the_race_and_its_seed_replays_it() {
    for (policy, guest) in [
        (&["--policy=random", "--slice=5000"][..], RACE),
        (
            &["--policy=pct", "--slice=1", "--depth=2", "--steps=400"],
            "threads/race.wasm(2,4,10)",
        ),
    ] {
        let args = [policy, &["--preemption=fuel", guest]].concat();
        let searched = run(&[&["--search=300"], &args[..]].concat()).expect(1);
        let seed = found(&searched);
        let says = format!("seed {seed}: {guest} exited 3 (");
        assert!(searched.stdout.contains(&says), "{}", searched.stdout);
        let seed = format!("--seed={seed}");
        for _ in 0..2 {
            let again = run(&[&[&*seed], &args[..]].concat()).expect(1);
            assert_eq!(figures(&again, guest), figures(&searched, guest));
            assert!(again.stdout.starts_with("lost update\n"));
        }

        // And by its picks.
        let schedule = out(&format!("threads-{}.schedule", &policy[0][2..]));
        let record = ["--record", &schedule, &seed];
        run(&[&record, &args[..]].concat()).expect(1);
        let replay = ["--preemption=fuel", policy[1], "--replay", &schedule, guest];
        let replayed = run(&replay).expect(1);
        assert_eq!(figures(&replayed, guest), figures(&searched, guest));
        assert!(
            replayed
                .stdout
                .contains("\nall picks were made as recorded\n")
        );
    }
}

#[test]
fn search_prints_nothing_of_runs_that_go_well() {
    let args = ["--policy=random", "--preemption=fuel", "--slice=2000"];
    let guest = ["threads/deadlock.wasm(maybe)"];
    let ran = run(&[&args[..], &["--search=200"], &guest[..]].concat()).expect(1);
    assert!(!ran.stdout.contains("no deadlock\n"), "{}", ran.stdout);
    assert_eq!(
        (ran.stderr.as_str(), ran.stdout.matches("seed").count() > 2),
        ("", true)
    );
    let seed = found(&ran);
    assert!(
        ran.stdout.contains(&format!("\nseed {seed}: deadlock (")),
        "{}",
        ran.stdout
    );

    let trace = out("threads-search.txt");
    let from = format!("--seed={seed}");
    let options = ["--search=5", "--json", "--trace", &trace, &from];
    let ran = run(&[&args[..], &options, &guest[..]].concat()).expect(1);
    let expected = json!({ "first_seed": seed, "runs": 1, "found": seed });
    assert_eq!(ran.json()["search"], expected);
    assert_eq!(ran.json()["seed"], seed);
    let names = read_trace(&trace).names;
    let names: Vec<&str> = names.iter().map(|(_, name)| &**name).collect();
    let guest = guest[0];
    assert_eq!(names, [guest, &format!("{guest}#1"), &format!("{guest}#2")]);
}

#[test]
fn search_that_finds_nothing_says_so() {
    let args = [
        "--policy=random",
        "--preemption=fuel",
        "--search=3",
        "--seed=10",
    ];
    let ran = run(&[&args[..], &["threads/queue.wasm(2,2,100)"]].concat()).expect(0);
    assert_eq!(
        ran.stdout,
        "all guests returned with each of 3 seeds, 10 to 12\n"
    );
    assert_eq!(ran.stderr, "");
    let ran = run(&[&args[..], &["--json", "threads/queue.wasm(2,2,100)"]].concat()).expect(0);
    let expected = json!({ "first_seed": 10, "runs": 3, "found": null });
    assert_eq!(ran.json()["search"], expected);
}

#[test]
fn search_takes_chance_and_fuel() {
    bad_usage(
        &["--search=5", "--preemption=fuel", RACE],
        &[
            "--search 5 has no effect with --policy round-robin",
            "--policy pct",
        ],
    );
    bad_usage(
        &["--search=5", "--policy=pct", "--preemption=epoch", RACE],
        &[
            "--search 5: with --preemption epoch",
            "use --preemption fuel",
        ],
    );
    let last = format!("--seed={}", u64::MAX);
    let args = ["--policy=pct", "--preemption=fuel", &last, RACE];
    bad_usage(
        &[&["--search=2"], &args[..]].concat(),
        &["--search 2: there are fewer seeds than that from --seed 18446744073709551615"],
    );
    bad_usage(&[&["--search=0"], &args[..]].concat(), &["--search"]);
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
    let no_memory = file(
        "threads-no-memory.wat",
        r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32)))
            (func (export "_start")) (func (export "wasi_thread_start") (param i32 i32)))"#,
    );
    bad_usage(&[&no_memory], &["cannot run", "no shared memory"]);
    let no_entry = file(
        "threads-no-entry.wat",
        r#"(module (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func (param i32) (result i32)))
            (func (export "_start")))"#,
    );
    bad_usage(&[&no_entry], &["`wasi_thread_start`"]);
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
