//! `--interleaving`: who had the CPU in each step of the run.

mod common;

use common::{bad_usage, each_mode, out, read, run};
use serde_json::Value;

/// Each guest's shares.
fn shares(json: &Value) -> Vec<Vec<f64>> {
    let threads = json["threads"].as_array().unwrap().iter();
    let shares = threads.map(|thread| thread["interleaving"].clone());
    shares
        .map(|shares| serde_json::from_value(shares).unwrap())
        .collect()
}

/// In each column, somebody had the CPU and all shares are of it, or nobody had it.
#[track_caller]
fn are_shares_of_one(shares: &[Vec<f64>]) {
    for column in 0..shares[0].len() {
        let total: f64 = shares.iter().map(|guest| guest[column]).sum();
        assert!(total == 0.0 || (total - 1.0).abs() < 1e-6, "{shares:?}");
    }
    assert!(shares.iter().flatten().sum::<f64>() > 0.5, "{shares:?}");
}

#[test]
fn each_guest_has_its_share_of_each_step() {
    for mode in each_mode() {
        let (step, field, shown) = match mode.name {
            "fuel" => ("100000", "interleaving_step_fuel", "100000 units of fuel"),
            _ => ("100ms", "interleaving_step_ms", "100ms"),
        };
        let step = format!("--interleaving={step}");
        let guests = ["spin.wat", "spin.wat", "fib.wat:fib(5)"];
        let limits = match mode.name {
            "fuel" => &["--slice=10000", "--fuel-limit=1000000"][..],
            _ => &["--for=1s"],
        };
        let args = [&[&*step], limits, &guests].concat();
        let ran = mode.run(&[&["--json"], &args[..]].concat()).expect(1);
        let json = ran.json();
        assert_eq!(json[field], if mode.name == "fuel" { 1e5 } else { 100.0 });
        let shares = shares(&json);
        are_shares_of_one(&shares);
        assert!((2..=64).contains(&shares[0].len()), "{json}");
        for guest in &shares {
            assert!(guest.iter().sum::<f64>() > 0.0, "{json}");
        }
        // It ended at once.
        assert_eq!(shares[2].last(), Some(&0.0), "{json}");

        let ran = mode.run(&args).expect(1);
        let (_, chart) = ran
            .stdout
            .split_once(&format!("the whole run (a column is {shown}"))
            .expect(&ran.stdout);
        let row = |guest: &str| chart.lines().find(|line| line.contains(guest)).unwrap();
        let blocks = |guest: &str| {
            let is_block = |c: &char| "▁▂▃▄▅▆▇█".contains(*c);
            row(guest).chars().filter(is_block).count()
        };
        assert!(blocks("1 spin.wat") > blocks("3 fib.wat:fib(5)"), "{chart}");
        assert!(blocks("3 fib.wat:fib(5)") > 0, "{chart}");
    }
}

#[test]
fn threads_of_a_program_count_as_the_program() {
    for mode in each_mode() {
        let slice = match mode.name {
            "fuel" => "--slice=10000",
            _ => "--slice=1ms",
        };
        let guests = ["threads/spin.wasm(4,200)", "fib.wat:fib(20)"];
        let args = [&["--json", "--interleaving", slice], &guests[..]].concat();
        let json = mode.run(&args).expect(0).json();
        assert!(json["threads"][0]["threads"].as_u64() > Some(4), "{json}");
        are_shares_of_one(&shares(&json));
        // Its first thread does nothing but wait.
        let used = |guest: &Vec<f64>| guest.iter().sum::<f64>();
        let [program, other] = &shares(&json)[..] else {
            panic!("{json}")
        };
        // The other guest uses more fuel, and less time.
        assert_eq!(used(program) > used(other), mode.name != "fuel", "{json}");
    }
}

#[test]
fn looking_changes_nothing() {
    for policy in ["round-robin", "priority"] {
        let trace = |options: &[&str]| {
            let path = out(&format!("looking-{policy}-{}.txt", options.len()));
            let trace = format!("--trace={path}");
            let args = ["--preemption=fuel", "--slice=5000", "--policy", policy];
            let guests = ["fib.wat:fib(18)", "primes.wasm(2000)"];
            run(&[&args, options, &[&*trace], &guests].concat()).expect(0);
            read(&path)
        };
        assert_eq!(trace(&[]), trace(&["--interleaving=100"]));
    }
}

#[test]
fn interleaving_under_fuel_is_the_same_each_time() {
    let args = ["--preemption=fuel", "--slice=5000", "--interleaving=10000"];
    let guests = ["--json", "fib.wat:fib(18)", "threads/queue.wasm(2,2,200)"];
    let once = || shares(&run(&[&args[..], &guests].concat()).expect(0).json());
    assert_eq!(once(), once());
}

#[test]
fn run_that_is_longer_than_its_trace_says_so() {
    let args = ["--preemption=fuel", "--slice=1000", "--trace-events=100"];
    let guests = ["--interleaving=1000", "fib.wat:fib(18)", "fib.wat:fib(18)"];
    let ran = run(&[&args[..], &guests].concat()).expect(0);
    assert!(
        ran.stdout.contains("the trace has the last 100 of"),
        "{}",
        ran.stdout
    );
    let json = run(&[&args[..], &guests, &["--json"]].concat())
        .expect(0)
        .json();
    assert_eq!(json["trace"]["events"], 100);
    are_shares_of_one(&shares(&json));
}

#[test]
fn step_takes_the_unit_of_the_slice() {
    for mode in each_mode() {
        let (wrong, says) = match mode.name {
            "fuel" => ("10ms", "such as 100000"),
            _ => ("10000", "such as 10ms"),
        };
        for (step, says) in [
            (wrong, says),
            ("0", "above zero"),
            ("x", "--interleaving x"),
        ] {
            let option = format!("--interleaving={step}");
            bad_usage(
                &["--preemption", mode.name, &option, "spin.wat"],
                &["--interleaving", says],
            );
        }
    }
}
