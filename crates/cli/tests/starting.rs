//! Each guest starts on its own thread: what a start function does, the thread does.

mod common;

use common::{Ran, each_mode, file, out, read_trace, run};
use serde_json::Value;

fn never_starts() -> String {
    file(
        "never-starts.wat",
        r#"(module $stuck (func $init (loop br 0)) (start $init) (func (export "run")))"#,
    )
}

/// A WASI library that is never set up.
fn never_initialized() -> String {
    let guest = file(
        "never-initialized.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
            (memory (export "memory") 1)
            (func (export "_initialize") (loop br 0))
            (func (export "run")))"#,
    );
    format!("{guest}:run")
}

/// A program whose start function runs `init`, and has in `$before` how many instances have
/// started before.
fn program(name: &str, init: &str) -> String {
    let wat = format!(
        r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (func $init (param $before i32) {init})
            (func $start (call $init (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
            (start $start)
            (func (export "_start")
                (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then unreachable))
                (drop (memory.atomic.wait32 (i32.const 4) (i32.const 0) (i64.const -1))))
            (func (export "wasi_thread_start") (param i32 i32)
                (i32.atomic.store (i32.const 4) (i32.const 1))
                (drop (memory.atomic.notify (i32.const 4) (i32.const 1)))))"#
    );
    file(name, wat)
}

/// The first instance starts, and the one of its thread does not.
fn second_never_starts() -> String {
    let init = "(if (local.get $before) (then (loop br 0)))";
    program("second-never-starts.wat", init)
}

fn stuck() -> [String; 3] {
    [never_starts(), never_initialized(), second_never_starts()]
}

/// How the first guest ended, and that its sibling has returned.
#[track_caller]
fn exit(ran: &Ran) -> String {
    let json = ran.json();
    assert_eq!(json["threads"][1]["results"][0], 55, "{json}");
    let Value::String(exit) = &json["threads"][0]["exit"] else {
        panic!("{json}");
    };
    exit.clone()
}

const SIBLING: &str = "fib.wat:fib(10)";

#[test]
fn time_ends_guests_that_never_start() {
    for mode in each_mode() {
        for guest in stuck() {
            let ran = mode.run(&["--json", "--for=500ms", &guest, SIBLING]);
            assert_eq!(exit(&ran.expect(1)), "stopped", "{guest}");
        }
    }
}

#[test]
fn limits_end_guests_that_never_start() {
    for mode in each_mode() {
        for (limit, name) in [
            ("--timeout=1=50ms", "timeout"),
            ("--cpu-limit=1=50ms", "cpu_limit"),
            ("--fuel-limit=1=1000000", "fuel_limit"),
        ] {
            for guest in stuck() {
                let ran = mode.run(&["--json", limit, &guest, SIBLING]).expect(1);
                assert_eq!(exit(&ran), "over_limit", "{guest} {limit}");
                assert_eq!(ran.json()["threads"][0]["limit"]["name"], name);
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_guests_that_never_start() {
    use std::io::Read;
    use std::process::{Command, Stdio};

    for guest in stuck() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--json", &guest])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        common::until_it_listens(child.id());
        let kill = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["end"], "interrupted");
    }
}

#[test]
fn trap_in_a_start_function_is_that_of_its_thread() {
    let start = file(
        "start-trap.wat",
        r#"(module $early (func $init unreachable) (start $init) (func (export "run")))"#,
    );
    let segment = file(
        "segment-trap.wat",
        r#"(module (memory 1) (data (i32.const 65536) "x") (func (export "run")))"#,
    );
    for mode in each_mode() {
        let ran = mode.run(&[&start, &segment, SIBLING]).expect(1);
        let trapped = format!("\nthread 1 ({start}) trapped: ");
        assert!(ran.stdout.contains(&trapped), "{}", ran.stdout);
        assert!(ran.stdout.contains("at early!init "), "{}", ran.stdout);

        let ran = mode.run(&["--json", &start, &segment, SIBLING]).expect(1);
        let json = ran.json();
        let exits = json["threads"].as_array().unwrap().iter();
        let exits: Vec<_> = exits
            .map(|thread| (&thread["thread"], &thread["exit"]))
            .collect();
        let expected = ["trapped", "trapped", "returned"].map(Value::from);
        let expected: Vec<_> = (1..).map(Value::from).zip(expected).collect();
        let expected: Vec<_> = expected.iter().map(|(id, exit)| (id, exit)).collect();
        assert_eq!(exits, expected);
    }
}

#[test]
fn trap_in_the_start_function_of_a_thread_ends_its_program() {
    let init = "(if (local.get $before) (then unreachable))";
    let guest = program("second-traps.wat", init);
    for mode in each_mode() {
        let ran = mode.run(&["--json", &guest, SIBLING]).expect(1);
        assert_eq!(exit(&ran), "trapped");
        let ended_by = &ran.json()["threads"][0]["ended_by"]["name"];
        assert_eq!(*ended_by, format!("{guest}#1"));
    }
}

#[test]
fn exit_while_a_library_is_set_up_is_that_of_the_guest() {
    let guest = file(
        "initialize-exits.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_initialize") (call $exit (i32.const 7)))
            (func (export "run") unreachable))"#,
    );
    for mode in each_mode() {
        let ran = mode.run(&["--json", &format!("{guest}:run")]).expect(7);
        assert_eq!(ran.json()["threads"][0]["code"], 7);
    }
}

#[test]
fn start_function_is_in_the_trace_and_in_the_figures() {
    let slow = file(
        "slow-start.wat",
        r#"(module
            (func $init (local $n i32)
                (local.set $n (i32.const 3000000))
                (loop $again
                    (br_if $again
                        (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
            (start $init)
            (func (export "run")))"#,
    );
    let trace = out("slow-start.txt");
    let options = ["--preemption=fuel", "--slice=100000", "--json"];
    let trace_option = format!("--trace={trace}");
    let ran = run(&[&options[..], &[&trace_option, &slow, &slow]].concat()).expect(0);
    let json = ran.json();
    for thread in json["threads"].as_array().unwrap() {
        assert!(thread["preemptions"].as_u64().unwrap() > 50, "{thread}");
        assert!(thread["fuel"].as_u64().unwrap() > 5_000_000, "{thread}");
    }
    assert!(read_trace(&trace).events.len() > 200);
}

#[test]
fn start_functions_are_recorded_and_replayed() {
    let guest = program("starts.wat", "");
    let path = out("starts.schedule");
    let options = ["--preemption=fuel", "--slice=5", "--policy=random"];
    let (record, replay) = (format!("--record={path}"), format!("--replay={path}"));
    run(&[&options[..], &[&record, &guest, SIBLING]].concat()).expect(0);
    let options = ["--preemption=fuel", "--slice=5"];
    let ran = run(&[&options[..], &[&replay, &guest, SIBLING]].concat()).expect(0);
    let all = "all picks were made as recorded";
    assert!(ran.stdout.contains(all), "{}", ran.stdout);
}

#[test]
fn search_finds_a_start_function_that_goes_wrong() {
    // Traps where two instances start at the same time.
    let guest = program(
        "start-race.wat",
        "(local $n i32)
         (if (i32.eqz (local.get $before)) (then (drop (call $spawn (i32.const 0)))))
         (if (i32.atomic.rmw.add (i32.const 8) (i32.const 1)) (then unreachable))
         (local.set $n (i32.const 20))
         (loop $again
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
         (drop (i32.atomic.rmw.sub (i32.const 8) (i32.const 1)))",
    );
    let options = ["--preemption=fuel", "--slice=20", "--policy=random"];
    let ran = run(&[&options[..], &["--search=100", &guest]].concat()).expect(1);
    assert!(ran.stdout.contains("repeats this run"), "{}", ran.stdout);
}

#[test]
fn memory_that_a_start_function_takes_is_limited() {
    let guest = file(
        "grows-at-start.wat",
        r#"(module
            (memory 1)
            (func $init
                (loop $more
                    (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1))))))
            (start $init)
            (func (export "run") (result i32) (memory.size)))"#,
    );
    for mode in each_mode() {
        let ran = mode.run(&["--json", "--memory-limit=1=1M", &guest, SIBLING]);
        let ran = ran.expect(0);
        assert_eq!(exit(&ran), "returned");
        assert_eq!(ran.json()["threads"][0]["results"][0], 16);
    }
}

/// In a memory that nobody else can have yet.
#[test]
fn start_function_that_waits_for_nobody_is_a_deadlock() {
    let guest = file(
        "waits-at-start.wat",
        r#"(module
            (memory 1 1 shared)
            (func $init
                (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))
            (start $init)
            (func (export "run")))"#,
    );
    for mode in each_mode() {
        let ran = mode.run(&["--json", &guest, SIBLING]).expect(1);
        assert_eq!(exit(&ran), "stopped");
        assert_eq!(ran.json()["end"], "deadlock");
    }
}
