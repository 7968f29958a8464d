//! What the figures say of the schedule.

mod common;

use common::{Mode, each_mode, run, signals_work};
use serde_json::Value;

fn threads(json: &Value) -> &Vec<Value> {
    json["threads"].as_array().unwrap()
}

#[test]
fn json_has_all_figures_of_threads_and_run() {
    let check = |mode: Mode| {
        let (slice, field, value) = match mode.name {
            "fuel" => ("--slice=5000000", "slice_fuel", 5e6),
            _ => ("--slice=5ms", "slice_ms", 5.0),
        };
        let ran = mode
            .run(&["--json", "--for=300ms", slice, "spin.wat", "spin.wat"])
            .expect(1);
        let json = ran.json();
        assert_eq!(json["preemption"], mode.name);
        assert_eq!(json[field].as_f64(), Some(value));
        assert_eq!(json["end"], "time_up");
        let sum = |field: &str| -> f64 {
            let of = |thread: &Value| thread[field].as_f64().unwrap();
            threads(&json).iter().map(of).sum()
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs().max(1.0);
        for field in ["cpu_time_ms", "slices", "preemptions"] {
            assert!(
                close(sum(field), json[field].as_f64().unwrap()),
                "{field}: {json}"
            );
        }
        assert!(close(sum("share"), 1.0), "{json}");
        assert!(
            sum("cpu_time_ms") <= json["elapsed_ms"].as_f64().unwrap(),
            "{json}"
        );
        for (i, thread) in threads(&json).iter().enumerate() {
            assert_eq!(thread["thread"], i + 1);
            assert_eq!(thread["guest"], "spin.wat");
            assert_eq!(thread["fuel"].is_u64(), mode.name == "fuel");
            assert_eq!(thread["fuel"].is_null(), mode.name != "fuel");
        }
    };
    each_mode().for_each(check);
}

#[test]
fn default_preemption_is_the_fastest_of_this_machine() {
    let ran = run(&["--json", "fib.wat:fib(5)"]).expect(0);
    let fastest = if signals_work() { "signal" } else { "epoch" };
    assert_eq!(ran.json()["preemption"], fastest);
    assert_eq!(ran.json()["slice_ms"], 10.0);
}

#[test]
fn shortest_slice_of_signals_is_met() {
    if !signals_work() {
        return;
    }
    let per_slice = |slice| {
        let args = ["--preemption=signal", "--for=500ms", "--json", slice];
        let ran = run(&[&args[..], &["spin.wat", "spin.wat"]].concat()).expect(1);
        let json = ran.json();
        let [cpu_time, slices] =
            ["cpu_time_ms", "slices"].map(|field| json[field].as_f64().unwrap());
        cpu_time / slices
    };
    let (shortest, usual) = (per_slice("--slice=50us"), per_slice("--slice=10ms"));
    // A busy machine lengthens some of them, not all by as much as this.
    assert!(
        shortest >= 0.05 && shortest < usual / 4.0,
        "{shortest} and {usual} ms"
    );
}

#[test]
fn endless_guests_have_their_turns_evenly() {
    for mode in each_mode() {
        let ran = mode
            .run(&["--json", "--for=1s", "spin.wat", "spin.wat", "spin.wat"])
            .expect(1);
        let json = ran.json();
        let slices = threads(&json).iter().map(|t| t["slices"].as_u64().unwrap());
        let (least, most) = (slices.clone().min().unwrap(), slices.max().unwrap());
        assert!(least > 1 && most - least <= 1, "{}: {json}", mode.name);
        for thread in threads(&json) {
            assert_eq!(thread["preemptions"], thread["slices"], "{json}");
            assert!(thread["share"].as_f64().unwrap() > 0.0, "{json}");
        }
    }
}

#[test]
fn fuel_runs_are_the_same_each_time() {
    let once = || {
        let ran = run(&[
            "--json",
            "--preemption=fuel",
            "--slice=5000",
            "fib.wat:fib(20)",
            "fib.wat:fib(15)",
            "primes.wasm(2000)",
        ])
        .expect(0);
        let figures = |thread: &Value| {
            ["slices", "preemptions", "fuel"].map(|field| thread[field].as_u64().unwrap())
        };
        assert_eq!(ran.json()["slice_fuel"], 5000);
        threads(&ran.json()).iter().map(figures).collect::<Vec<_>>()
    };
    let first = once();
    assert_eq!(first, once());
    for [slices, preemptions, fuel] in first {
        assert_eq!(slices, preemptions + 1);
        assert!(
            slices > 1 && fuel / slices <= 5100,
            "{slices} slices, {fuel} fuel"
        );
    }
}
