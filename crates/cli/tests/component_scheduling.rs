//! Components are preempted, limited and traced as modules are.

mod common;

use common::components::{command, functions, sleeper, spin_or_answer};
use common::{each_mode, out, read_trace, rows, run};
use wasmtime::preempt::Traced;

#[test]
fn component_that_spins_does_not_keep_others_from_answering() {
    let guest = spin_or_answer("component-spin.wat");
    let (spin, answer) = (format!("{guest}:spin"), format!("{guest}:answer"));
    for mode in each_mode() {
        let args = [
            "--json",
            "--until",
            &*answer,
            &spin,
            &answer,
            "fib.wat:fib(20)",
        ];
        let json = mode.run(&args).expect(0).json();
        assert_eq!(json["end"], "until", "{json}");
        assert_eq!(rows(&json)[1]["results"][0], 42);
        let args = ["--json", "--for=300ms", "fib.wat:fib(20)", &*spin, &answer];
        let json = mode.run(&args).expect(1).json();
        assert_eq!(rows(&json)[0]["results"][0], 6765);
        assert_eq!(rows(&json)[1]["exit"], "stopped");
        assert_eq!(rows(&json)[2]["results"][0], 42);
    }
}

#[test]
fn start_functions_are_preempted_too() {
    let guest = common::file(
        "component-start.wat",
        r#"(component
            (core module $m (func $spin (loop br 0)) (start $spin) (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#,
    );
    for mode in each_mode() {
        let json = mode
            .run(&["--json", "--for=200ms", &guest, "fib.wat:fib(20)"])
            .expect(1)
            .json();
        assert_eq!(rows(&json)[0]["exit"], "stopped");
        assert_eq!(rows(&json)[1]["results"][0], 6765);
    }
}

#[test]
fn limits_end_their_component_only() {
    let guest = spin_or_answer("component-limits.wat");
    let (spin, answer) = (format!("{guest}:spin"), format!("{guest}:answer"));
    for mode in each_mode() {
        for (option, name) in [
            ("--fuel-limit=1=1000000", "fuel_limit"),
            ("--cpu-limit=1=30ms", "cpu_limit"),
            ("--timeout=1=100ms", "timeout"),
        ] {
            let json = mode
                .run(&["--json", option, &spin, &answer])
                .expect(1)
                .json();
            assert_eq!(rows(&json)[0]["exit"], "over_limit", "{json}");
            assert_eq!(rows(&json)[0]["limit"]["name"], name);
            assert_eq!(rows(&json)[1]["results"][0], 42);
        }
    }
}

#[test]
fn memory_is_limited() {
    let guest = functions(
        "component-memory.wat",
        r#"(memory (export "memory") 1)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))"#,
        r#"(func (export "grow") (param "pages" u32) (result s32)
            (canon lift (core func $i "grow")))"#,
    );
    let grow = |pages: u32| format!("{guest}:grow({pages})");
    for mode in each_mode() {
        let args = ["--json", "--memory-limit=1M", &*grow(15), &grow(16)];
        let json = mode.run(&args).expect(0).json();
        assert_eq!(rows(&json)[0]["results"][0], 1);
        assert_eq!(rows(&json)[1]["results"][0], -1);
        let json = mode
            .run(&["--json", "--memory-limit=32K", &grow(0)])
            .expect(134)
            .json();
        assert_eq!(rows(&json)[0]["exit"], "trapped");
    }
}

#[test]
fn components_sleep_at_the_same_time() {
    let guest = sleeper("component-sleep.wat", 400);
    let guests: Vec<&str> = [&*guest; 8].into();
    for mode in each_mode() {
        let json = mode
            .run(&[&["--json"], &guests[..]].concat())
            .expect(0)
            .json();
        let elapsed = json["elapsed_ms"].as_f64().unwrap();
        assert!((400.0..8.0 * 400.0).contains(&elapsed), "{elapsed}");
    }
}

#[test]
fn component_that_waits_is_stopped_and_limited() {
    let guest = sleeper("component-long-sleep.wat", 3_600_000);
    for mode in each_mode() {
        let json = mode
            .run(&["--json", "--timeout=100ms", &guest])
            .expect(1)
            .json();
        assert_eq!(rows(&json)[0]["limit"]["name"], "timeout");
        let json = mode
            .run(&["--json", "--for=100ms", &guest])
            .expect(1)
            .json();
        assert_eq!(rows(&json)[0]["waits_for"], "a host function");
    }
}

#[test]
fn components_have_weights_and_are_traced() {
    let spin = spin_or_answer("component-weights.wat") + ":spin";
    let trace = out("component-trace.txt");
    let option = format!("--trace={trace}");
    let args = [
        "--json",
        "--preemption=fuel",
        "--slice=10000",
        "--policy=fair",
        "--weight=1=3",
        "--fuel-limit=2=1000000",
        "--until=2",
        &option,
        &spin,
        &spin,
    ];
    let json = run(&args).expect(1).json();
    let fuel = |index: usize| rows(&json)[index]["fuel"].as_f64().unwrap();
    let ratio = fuel(0) / fuel(1);
    assert!((2.5..3.5).contains(&ratio), "{ratio}");
    let trace = read_trace(&trace);
    let preempted = |what: &Traced| matches!(what, Traced::Preempted);
    assert!(trace.events.iter().any(|event| preempted(&event.what)));
    assert!(trace.names.iter().any(|(_, name)| *name == spin));
}

#[test]
fn component_cannot_use_up_the_handles_of_others() {
    let greedy = command(
        "component-greedy.wat",
        "",
        "(loop $again (drop (call $stdout)) (br $again)) unreachable",
    );
    let modest = sleeper("component-modest.wat", 1000);
    for mode in each_mode() {
        let args = ["--json", &*greedy, &greedy, &modest];
        let json = mode.run(&args).expect(1).json();
        assert_eq!(rows(&json)[0]["exit"], "trapped");
        assert_eq!(rows(&json)[1]["exit"], "trapped");
        assert_eq!(rows(&json)[2]["exit"], "returned", "{json}");
    }
}
