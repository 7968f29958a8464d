//! Guests that go over their limits are ended, and it is said of which.

mod common;

use common::{ENDLESS, bad_usage, each_mode, out, read_trace, rows, run};
use preempt_trace::check::{Checker, Order};
use serde_json::{Value, json};
use wasmtime::preempt::Traced;

fn thread(json: &Value, index: usize) -> &Value {
    &json["threads"][index]
}

#[test]
fn cpu_limit_ends_its_guest_only() {
    for mode in each_mode() {
        let args = ["--cpu-limit=1=30ms", "spin.wat", "fib.wat:fib(20)"];
        let ran = mode.run(&[&["--json"], &args[..]].concat()).expect(1);
        let json = ran.json();
        assert_eq!(json["end"], "all_finished");
        let limited = thread(&json, 0);
        assert_eq!(limited["exit"], "over_limit");
        assert_eq!(limited["limit"]["name"], "cpu_limit");
        assert_eq!(limited["limit"]["limit_ms"], 30.0);
        assert!(
            limited["limit"]["used_ms"].as_f64().unwrap() >= 30.0,
            "{limited}"
        );
        assert_eq!(limited["results"], json!([]));
        assert_eq!(thread(&json, 1)["results"][0], 6765);
        assert_eq!(thread(&json, 1)["limit"], Value::Null);

        let ran = mode.run(&args).expect(1);
        let row = ran.stdout.lines().find(|line| line.contains("spin.wat"));
        assert!(
            row.unwrap().contains(" over its CPU limit of 30ms "),
            "{}",
            ran.stdout
        );
        let says = "\nthread 1 (spin.wat) went over its CPU limit of 30ms: ";
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
    }
}

#[test]
fn fuel_limit_works_under_each_preemption() {
    for mode in each_mode() {
        let args = ["--fuel-limit=1000000", "spin.wat", "fib.wat:fib(15)"];
        let ran = mode.run(&[&["--json"], &args[..]].concat()).expect(1);
        let json = ran.json();
        let limit = &thread(&json, 0)["limit"];
        assert_eq!(limit["name"], "fuel_limit");
        assert_eq!(limit["limit_fuel"], 1_000_000);
        assert!(limit["used_fuel"].as_u64().unwrap() >= 1_000_000, "{limit}");
        let fib = thread(&json, 1);
        assert_eq!(fib["results"][0], 610);
        assert!(
            (1..1_000_000).contains(&fib["fuel"].as_u64().unwrap()),
            "{fib}"
        );

        let ran = mode.run(&args).expect(1);
        let says = "over its fuel limit of 1000000 units";
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
    }
}

#[test]
fn fuel_limit_is_met_to_the_unit_in_every_run() {
    let once = || {
        let args = [
            "--json",
            "--preemption=fuel",
            "--slice=700",
            "--fuel-limit=10_000",
        ];
        let ran = run(&[&args[..], &["spin.wat", "fib.wat:fib(20)"]].concat()).expect(1);
        let json = ran.json();
        [0, 1].map(|index| thread(&json, index)["limit"]["used_fuel"].as_u64().unwrap())
    };
    let first = once();
    assert_eq!(first, once());
    assert!(
        first.iter().all(|used| (10_000..10_100).contains(used)),
        "{first:?}"
    );
}

#[test]
fn timeout_counts_the_time_off_the_cpu_too() {
    for mode in each_mode() {
        let args = [
            "--json",
            "--for=60s",
            "--timeout=100ms",
            "--timeout=2=300ms",
        ];
        let ran = mode
            .run(&[&args[..], &["spin.wat", "spin.wat"]].concat())
            .expect(1);
        let json = ran.json();
        assert_eq!(json["end"], "all_finished");
        for (index, limit) in [(0, 100.0), (1, 300.0)] {
            let limited = &thread(&json, index)["limit"];
            assert_eq!(
                (&limited["name"], &limited["limit_ms"]),
                (&"timeout".into(), &limit.into())
            );
            assert!(limited["used_ms"].as_f64().unwrap() >= limit, "{limited}");
        }
        // What the first had of the CPU counts for the second, which waited meanwhile.
        let ms = |value: &Value| value.as_f64().unwrap();
        let [first, second] = [0, 1].map(|index| ms(&thread(&json, index)["cpu_time_ms"]));
        let off_the_cpu = ms(&thread(&json, 1)["limit"]["used_ms"]) - second;
        assert!(first > 0.0 && off_the_cpu > first / 2.0, "{json}");
    }
}

#[test]
fn guests_within_their_limits_return() {
    for mode in each_mode() {
        let limits = ["--cpu-limit=1h", "--fuel-limit=1000000000", "--timeout=1h"];
        let guests = ["fib.wat:fib(20)", "primes.wasm(1000)"];
        mode.run(&[&limits[..], &guests].concat()).expect(0);
    }
}

#[test]
fn schedule_keeps_its_promises_when_guests_are_ended() {
    for mode in each_mode() {
        let path = out(&format!("limits-{}.txt", mode.name));
        let limits = [
            "--cpu-limit=1=30ms",
            "--fuel-limit=2=100000",
            "--timeout=50ms",
        ];
        let trace = format!("--trace={path}");
        let guests = ["spin.wat"; 5];
        mode.run(&[&limits[..], &[&trace], &guests].concat())
            .expect(1);
        let trace = read_trace(&path);
        let checker = Checker::new().tolerance(mode.tolerance());
        let checker = checker.all_finished(true);
        let report = checker.order(Order::RoundRobin).check(&trace);
        assert!(report.is_ok(), "{}: {report}", mode.name);
        let ended = trace.events.iter().filter(|e| e.what == Traced::OverLimit);
        assert_eq!(ended.count(), 5);
    }
}

#[test]
fn figures_of_guests_that_were_ended_add_up() {
    for mode in each_mode() {
        let limits = [
            "--json",
            "--cpu-limit=1=30ms",
            "--fuel-limit=2=100000",
            "--timeout=60ms",
        ];
        let ran = mode
            .run(&[&limits[..], &["spin.wat"; 4]].concat())
            .expect(1);
        let json = ran.json();
        let sum = |field: &str| -> f64 {
            let threads = json["threads"].as_array().unwrap().iter();
            threads.map(|thread| thread[field].as_f64().unwrap()).sum()
        };
        assert_eq!(sum("slices"), json["slices"].as_f64().unwrap(), "{json}");
        assert!(
            sum("cpu_time_ms") <= json["elapsed_ms"].as_f64().unwrap(),
            "{json}"
        );
    }
}

#[test]
fn limits_that_make_no_sense_are_errors() {
    for option in ["--cpu-limit", "--timeout"] {
        let bad = |value: &str, says: &str| {
            bad_usage(&[option, value, "spin.wat"], &[option, value, says]);
        };
        bad("0ms", "before it starts");
        bad("1=0s", "before it starts");
        bad("10", "such as 50ms");
        bad("soon", "such as 50ms");
        bad("", "such as 50ms");
    }
    let bad = |value: &str, says: &str| {
        bad_usage(
            &["--fuel-limit", value, "spin.wat"],
            &["--fuel-limit", value, says],
        );
    };
    bad("0", "before it starts");
    bad("spin.wat=0", "before it starts");
    bad("10ms", "such as 100000");
    bad("18446744073709551616", "such as 100000");
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
