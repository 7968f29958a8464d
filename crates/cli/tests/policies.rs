//! Which guest runs when, by the trace of the run.

mod common;

use common::{FUEL_TOLERANCE, Ran, bad_usage, each_mode, file, out, read, read_trace, run};
use preempt_trace::check::{Checker, Order};
use preempt_trace::stats::Stats;
use serde_json::Value;
use std::collections::BTreeMap;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, Traced};

/// Every policy but replay, and what makes its picks repeatable.
const POLICIES: [&[&str]; 6] = [
    &["--policy=round-robin"],
    &["--policy=fair", "--weight=2=3"],
    &["--policy=priority", "--priority=2=1"],
    &["--policy=deadline", "--deadline=2=100000"],
    &["--policy=random", "--seed=7"],
    &["--policy=pct", "--seed=7"],
];

/// Three guests under fuel, which all return.
const THREE: [&str; 5] = [
    "--preemption=fuel",
    "--slice=5000",
    "fib.wat:fib(18)",
    "fib.wat:fib(17)",
    "primes.wasm(2000)",
];

/// Runs the three, and returns the trace as text.
fn three(name: &str, options: &[&str]) -> (Ran, String) {
    let path = out(&format!("{name}.txt"));
    let trace = format!("--trace={path}");
    let ran = run(&[&THREE, options, &[&*trace, "--json"]].concat()).expect(0);
    (ran, read(&path))
}

#[track_caller]
fn check(checker: Checker, trace: &Trace) {
    let report = checker.check(trace);
    assert!(report.is_ok(), "{report}");
    assert!(report.dispatches > 0, "{report}");
}

fn trace(text: &str) -> Trace {
    preempt_trace::text::parse(text).unwrap()
}

#[test]
fn each_policy_keeps_the_promises_of_the_schedule() {
    for options in POLICIES {
        let name = format!("promises-{}", &options[0]["--policy=".len()..]);
        let (_, text) = three(&name, options);
        let checker = Checker::new().tolerance(FUEL_TOLERANCE).all_finished(true);
        check(checker, &trace(&text));
    }
}

#[test]
fn each_policy_keeps_its_promises_under_each_preemption() {
    for mode in each_mode() {
        for options in POLICIES {
            let deadline = options.iter().any(|o| o.starts_with("--deadline"));
            let options = match (deadline, mode.name) {
                (true, "signal" | "epoch") => &["--policy=deadline", "--deadline=2=100ms"],
                _ => options,
            };
            let path = out(&format!("promises-{}{}.txt", mode.name, options[0]));
            let trace = format!("--trace={path}");
            let args = ["--for=100ms", &trace, "spin.wat", "spin.wat", "spin.wat"];
            mode.run(&[options, &args].concat()).expect(1);
            let checker = Checker::new().tolerance(mode.tolerance());
            check(checker.all_finished(true), &read_trace(&path));
        }
    }
}

#[test]
fn round_robin_gives_each_its_turn() {
    for options in [&[][..], &["--policy=round-robin"]] {
        let (ran, text) = three("round-robin", options);
        assert_eq!(ran.json()["policy"], "round-robin");
        let checker = Checker::new().tolerance(FUEL_TOLERANCE);
        check(checker.order(Order::RoundRobin), &trace(&text));
    }
}

#[test]
fn recorded_round_robin_is_the_same_round_robin() {
    let (_, plain) = three("plain", &[]);
    let record = format!("--record={}", out("round-robin.schedule"));
    let (_, recorded) = three("recorded", &[&record]);
    assert_eq!(plain, recorded);
}

#[test]
fn greater_priorities_go_first() {
    let options = ["--policy=priority", "--priority=-1", "--priority=1=5"];
    let (_, text) = three("priority", &options);
    let priorities = [(1, 5), (2, -1), (3, -1)];
    let priorities = priorities.map(|(id, priority)| (ThreadId::from_u64(id), priority));
    let order = Order::Priorities(BTreeMap::from(priorities));
    check(
        Checker::new().tolerance(FUEL_TOLERANCE).order(order),
        &trace(&text),
    );
    assert_eq!(exits(&trace(&text))[0], 1);

    // Without them it is another order.
    let (_, text) = three("no-priority", &["--policy=priority"]);
    assert_ne!(exits(&trace(&text))[0], 1);
}

#[test]
fn patience_lets_low_priorities_run_in_between() {
    let options = ["--policy=priority", "--priority=2=1"];
    let first_of_1 = |options: &[&str]| {
        let (_, text) = three("patience", options);
        let trace = trace(&text);
        let is_dispatch = |what| matches!(what, Traced::Dispatched { .. });
        let mut dispatches = trace.events.iter().filter(|event| is_dispatch(event.what));
        dispatches.position(|event| event.thread.as_u64() == 1)
    };
    let strict = first_of_1(&options);
    let aged = first_of_1(&[&options[..], &["--patience=20000"]].concat());
    assert!(aged < strict, "{aged:?} {strict:?}");
}

/// The threads in the order in which they finished.
fn exits(trace: &Trace) -> Vec<u64> {
    let exits = trace.events.iter().filter(|e| e.what == Traced::Returned);
    exits.map(|event| event.thread.as_u64()).collect()
}

#[test]
fn earlier_deadlines_go_first() {
    let options = [
        "--policy=deadline",
        "--deadline=3=1000000",
        "--deadline=primes.wasm(2000)=2000",
        "--deadline=2=9000000",
    ];
    let (_, text) = three("deadline", &options);
    assert_eq!(exits(&trace(&text)), [3, 2, 1]);
}

/// The shares of the CPU of guests that never end.
fn shares(options: &[&str]) -> Vec<f64> {
    let path = out("shares.txt");
    let trace = format!("--trace={path}");
    let fuel = [
        "--preemption=fuel",
        "--slice=10000",
        "--fuel-limit=3=3000000",
    ];
    let run_all = ["--for=300ms", &trace, "spin.wat", "spin.wat", "spin.wat"];
    run(&[&fuel, options, &run_all].concat()).expect(1);
    let mut trace = read_trace(&path);
    // While all three were there: until the third was over its limit.
    let end = trace
        .events
        .iter()
        .position(|e| e.what == Traced::OverLimit);
    trace.events.truncate(end.unwrap());
    let stats = Stats::of(&trace);
    let used: Vec<u64> = stats.threads.iter().map(|thread| thread.cpu).collect();
    let all: u64 = used.iter().sum();
    used.iter().map(|used| *used as f64 / all as f64).collect()
}

#[test]
fn weights_are_shares_of_the_cpu() {
    let close = |shares: Vec<f64>, expected: [f64; 3]| {
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 0.02, "{shares:?}");
        }
    };
    close(shares(&["--policy=fair"]), [1.0 / 3.0; 3]);
    close(
        shares(&[
            "--policy=fair",
            "--weight=1",
            "--weight=1=6",
            "--weight=2=3",
        ]),
        [0.6, 0.3, 0.1],
    );
    // The group's two together have as much as the third.
    close(
        shares(&["--policy=fair", "--group=5", "--group=3=0"]),
        [0.25, 0.25, 0.5],
    );
}

#[test]
fn fuel_runs_have_the_same_trace_each_time() {
    for options in POLICIES {
        let (_, first) = three("same", options);
        let (_, second) = three("same", options);
        assert!(first == second, "{options:?}");
    }
}

#[test]
fn another_seed_is_another_schedule() {
    for policy in ["--policy=random", "--policy=pct"] {
        let with_seed = |seed: &str| {
            three(
                "seeds",
                &[policy, seed, "--depth=9"][..match policy {
                    "--policy=pct" => 3,
                    _ => 2,
                }],
            )
            .1
        };
        let traces = ["--seed=1", "--seed=2", "--seed=3", "--seed=4"].map(with_seed);
        // Of three threads there are but six orders.
        assert!(traces.iter().any(|trace| *trace != traces[0]), "{policy}");
    }
}

#[test]
fn seed_that_was_drawn_is_told_and_repeats_the_run() {
    for policy in ["--policy=random", "--policy=pct"] {
        let (ran, first) = three("drawn", &[policy]);
        let seed = ran.json()["seed"].as_u64().unwrap();
        assert!(
            ran.stderr.contains(&format!("--seed {seed}")),
            "{}",
            ran.stderr
        );
        let (ran, second) = three("drawn", &[policy, &format!("--seed={seed}")]);
        assert!(!ran.stderr.contains("--seed"), "{}", ran.stderr);
        assert_eq!(first, second);

        let ran = run(&[&THREE[..], &[policy, "--seed=77"]].concat()).expect(0);
        let end = format!(", policy {}, seed 77)\n", &policy["--policy=".len()..]);
        assert!(ran.stdout.ends_with(&end), "{}", ran.stdout);
    }
}

#[test]
fn replay_makes_the_recorded_run_again() {
    for options in POLICIES {
        let schedule = out("replayed.schedule");
        let (_, first) = three("replay", &[options, &["--record", &schedule]].concat());
        let again = out("again.schedule");
        let (ran, second) = three("replay", &["--replay", &schedule, "--record", &again]);
        assert!(first == second, "{options:?}");
        assert_eq!(read(&schedule), read(&again));
        assert_eq!(ran.json()["policy"], "replay");
        let replay = serde_json::json!({ "divergence": null, "picks_left": 0 });
        assert_eq!(ran.json()["replay"], replay);

        let args = [&THREE[..], &["--policy=replay", "--replay", &schedule]].concat();
        let ran = run(&args).expect(0);
        assert!(
            ran.stdout.contains("\nall picks were made as recorded\n"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn divergence_of_a_replay_is_reported_and_no_guest_is_lost() {
    let schedule = out("divergence.schedule");
    three("divergence", &["--record", &schedule]);
    // Guest 2 has more to do, and the others less.
    let args = [
        "--preemption=fuel",
        "--slice=5000",
        "--replay",
        &schedule,
        "fib.wat:fib(18)",
        "fib.wat:fib(19)",
        "fib.wat:fib(2)",
    ];
    let ran = run(&[&args[..], &["--json"]].concat()).expect(0);
    let divergence = &ran.json()["replay"]["divergence"];
    assert!(
        divergence
            .as_str()
            .unwrap()
            .contains("thread 3 is next, and there is no such thread"),
        "{divergence}"
    );
    assert_eq!(ran.json()["threads"][1]["results"][0], 4181);
    let ran = run(&args).expect(0);
    assert!(
        ran.stdout.contains("\nthe replay left the schedule after "),
        "{}",
        ran.stdout
    );

    let less = [&args[..4], &["fib.wat:fib(2)"]].concat();
    let ran = run(&[&less[..], &["--json"]].concat()).expect(0);
    assert!(ran.json()["replay"]["picks_left"].as_u64().unwrap() > 0);
}

#[test]
fn guests_are_meant_by_name_or_by_number() {
    let weights = |weights: &[&str]| {
        let options: Vec<String> = weights.iter().map(|w| format!("--weight={w}")).collect();
        let mut all = vec!["--policy=fair"];
        all.extend(options.iter().map(String::as_str));
        three("names", &all).1
    };
    let by_number = weights(&["2=9"]);
    assert_eq!(weights(&["fib.wat:fib(17)=9"]), by_number);
    assert_eq!(weights(&["9", "1=1", "3=1"]), by_number);
    assert_ne!(weights(&["1=9"]), by_number);
}

#[test]
fn unknown_guests_are_errors_that_list_those_there_are() {
    for (policy, option, value) in [
        ("fair", "--weight", "2"),
        ("fair", "--group", "2"),
        ("priority", "--priority", "-2"),
        ("deadline", "--deadline", "2"),
        ("round-robin", "--cpu-limit", "2s"),
        ("round-robin", "--fuel-limit", "2"),
        ("round-robin", "--timeout", "2s"),
    ] {
        for unknown in ["spin", "0", "3"] {
            let given = format!("{unknown}={value}");
            let arg = format!("{option}={given}");
            let policy = ["--preemption=fuel", "--policy", policy];
            bad_usage(
                &[&policy[..], &[&arg, "primes.wasm(1000)", "spin.wat"]].concat(),
                &[
                    &format!("{option} {given}: there is no guest `{unknown}`"),
                    "the guests are 1 (`primes.wasm(1000)`), 2 (`spin.wat`)",
                ],
            );
        }
    }
}

#[test]
fn options_without_effect_are_errors() {
    for (policy, option, needs) in [
        ("round-robin", "--weight=2", "--policy fair"),
        ("priority", "--group=2", "--policy fair"),
        ("fair", "--priority=1=2", "--policy priority"),
        ("fair", "--patience=2s", "--policy priority"),
        ("pct", "--deadline=2s", "--policy deadline"),
        ("random", "--steps=2", "--policy pct"),
        ("random", "--depth=2", "--policy pct"),
    ] {
        let (name, value) = option.split_once('=').unwrap();
        let says =
            format!("{name} {value} has no effect with --policy {policy}; it is for {needs}\n");
        bad_usage(&["--policy", policy, option, "spin.wat"], &[&says]);
    }
    bad_usage(
        &[
            "--policy=fair",
            "--preemption=epoch",
            "--seed=2",
            "spin.wat",
        ],
        &[
            "--seed 2 has no effect with --policy fair and --preemption epoch",
            "--policy random or --policy pct",
            "--preemption fuel",
        ],
    );
    bad_usage(
        &["--weight=2", "spin.wat"],
        &["--weight 2 has no effect with --policy round-robin"],
    );
    bad_usage(
        &["--policy=luck", "spin.wat"],
        &[
            "luck",
            "round-robin",
            "fair",
            "priority",
            "deadline",
            "random",
            "pct",
            "replay",
        ],
    );
}

#[test]
fn values_that_make_no_sense_are_errors() {
    let fair = |value: &str, says: &str| {
        bad_usage(&["--policy=fair", value, "spin.wat"], &[says]);
    };
    fair("--weight=0", "give a number from 1 to 4294967295");
    fair("--weight=1=0", "give a number from 1 to 4294967295");
    fair("--weight=-1", "a number from 1 to 4294967295");
    fair("--weight==1", "no guest before the `=`");
    fair("--group=x", "a group is a number");
    let priority = |value: &str, says: &str| {
        bad_usage(&["--policy=priority", value, "spin.wat"], &[says]);
    };
    priority("--priority=2147483648", "from -2147483648 to 2147483647");
    bad_usage(
        &["--policy=pct", "--depth=0", "spin.wat"],
        &["--depth", "1..=1024"],
    );
    bad_usage(&["--policy=pct", "--steps=0", "spin.wat"], &["--steps"]);
    bad_usage(&["--policy=pct", "--seed=x", "spin.wat"], &["--seed", "x"]);
    for mode in each_mode() {
        let bad = |policy: &str, option: &str, value: &str, says: &[&str]| {
            let (policy, arg) = (format!("--policy={policy}"), format!("{option}={value}"));
            let given = format!("{option} {value}");
            let says = [&[given.as_str()], says].concat();
            bad_usage(
                &["--preemption", mode.name, &policy, &arg, "spin.wat"],
                &says,
            );
        };
        let (other, unit) = match mode.name {
            "fuel" => ("10ms", "a number of units of fuel"),
            _ => ("10", "a time such as 10ms"),
        };
        bad("deadline", "--deadline", other, &["a deadline is", unit]);
        bad(
            "deadline",
            "--deadline",
            "spin.wat=0",
            &["before the guest starts"],
        );
        bad("priority", "--patience", other, &["the patience is", unit]);
        bad(
            "priority",
            "--patience",
            "0",
            &["make priorities meaningless"],
        );
    }
}

#[test]
fn schedules_that_cannot_be_replayed_are_errors() {
    bad_usage(&["--policy=replay", "spin.wat"], &["--replay FILE"]);
    bad_usage(
        &["--replay=nope", "spin.wat"],
        &["--replay: cannot read nope", "No such file"],
    );
    let bad = |name: &str, text: &str, says: &[&str]| {
        let path = file(name, text);
        let what = format!("--replay: {path} is not what --record writes");
        let says = [&[what.as_str()], says].concat();
        bad_usage(&["--replay", &path, "primes.wasm(1000)"], &says);
    };
    bad("empty.schedule", "", &["line 1"]);
    bad(
        "junk.schedule",
        "preempt-schedule 1\npicks 1\n1 x\n",
        &["line 3", "\"x\""],
    );
    bad(
        "short.schedule",
        "preempt-schedule 1\npicks 2\n1\n",
        &["cut off"],
    );
    let good = file("good.schedule", "preempt-schedule 1\npicks 1\n1\n");
    bad_usage(
        &["--policy=fair", "--replay", &good, "spin.wat"],
        &["--policy fair makes its own picks"],
    );
    run(&["--replay", &good, "fib.wat:fib(5)"]).expect(0);
}

#[test]
fn json_names_policy_and_seed() {
    let json = |args: &[&str]| -> Value {
        run(&[args, &["--json", "fib.wat:fib(5)"]].concat())
            .expect(0)
            .json()
    };
    let plain = json(&[]);
    assert_eq!(
        (&plain["policy"], &plain["seed"]),
        (&"round-robin".into(), &Value::Null)
    );
    assert!(
        plain.get("replay").is_none() && plain.get("trace").is_none(),
        "{plain}"
    );
    let random = json(&["--policy=random", "--seed=3"]);
    assert_eq!(
        (&random["policy"], &random["seed"]),
        (&"random".into(), &3.into())
    );
}
