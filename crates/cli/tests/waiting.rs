//! Guests that wait park their own thread only.

mod common;

use common::{each_mode, file, run_with_stdin};
use std::io::{Read, Write};
use std::process::{Child, ChildStderr, Command, Stdio};

/// `preempt run ARGS` with a stdin that stays open.
fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_preempt"))
        .arg("run")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a command has printed to stderr so far.
struct Printed(String, ChildStderr);

impl Printed {
    fn of(child: &mut Child) -> Printed {
        Printed(String::new(), child.stderr.take().unwrap())
    }

    #[track_caller]
    fn until(&mut self, text: &str) {
        let mut buffer = [0; 256];
        while !self.0.contains(text) {
            let len = self.1.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "no `{text}` in:\n{}", self.0);
            self.0 += std::str::from_utf8(&buffer[..len]).unwrap();
        }
    }
}

fn finish(mut child: Child) -> (i32, serde_json::Value, String) {
    let status = child.wait().unwrap().code().unwrap();
    let (mut json, mut printed) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut json)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    (
        status,
        serde_json::from_str(&json).expect(&printed),
        printed,
    )
}

#[test]
fn sleeping_guests_sleep_at_the_same_time() {
    for mode in each_mode() {
        let sleep = ["wait.wasm(400)"; 20];
        let ran = mode.run(&[&["--json"], &sleep[..]].concat()).expect(0);
        let elapsed = ran.json()["elapsed_ms"].as_f64().unwrap();
        // One by one they take longer on any machine.
        assert!((400.0..20.0 * 400.0).contains(&elapsed), "{elapsed} ms");
        assert_eq!(ran.stderr.matches("slept\n").count(), 20);
    }
}

#[test]
fn guest_that_waits_for_input_stops_no_other() {
    for mode in each_mode() {
        let args = ["--preemption", mode.name, "--json"];
        let guests = [
            "wait.wasm(60000,stdin)",
            "wait.wasm(100)",
            "primes.wasm(20000)",
        ];
        let mut child = start(&[&args, &guests[..]].concat());
        let mut printed = Printed::of(&mut child);
        printed.until("slept");
        printed.until("primes below");
        let printed_before = printed.0.clone();
        assert!(!printed_before.contains("input"));
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        printed.until("input: hello\n");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn end_of_input_wakes_all_who_wait_for_it() {
    for mode in each_mode() {
        let args = ["--preemption", mode.name, "--json"];
        let guests = ["wait.wasm(60000,stdin)"; 5];
        let ran = run_with_stdin(&[&args, &guests[..]].concat(), "").expect(0);
        assert_eq!(ran.stderr.matches("end of input\n").count(), 5);
    }
}

#[cfg(unix)]
#[test]
fn input_from_a_pipe_is_waited_for_too() {
    for mode in each_mode() {
        let mut child = start(&[
            "--preemption",
            mode.name,
            "--json",
            "--stdin=1=/dev/stdin",
            "echo.wasm",
            "wait.wasm(300)",
        ]);
        let mut printed = Printed::of(&mut child);
        printed.until("slept");
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        printed.until("stdin: hello\n");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn clock_ends_a_wait_for_input() {
    for mode in each_mode() {
        let mut child = start(&["--preemption", mode.name, "--json", "wait.wasm(50,stdin)"]);
        let stdin = child.stdin.take();
        let (status, _, printed) = finish(child);
        drop(stdin);
        assert_eq!((status, &*printed), (0, "no input\n"));
    }
}

#[test]
fn end_of_the_time_and_a_timeout_end_those_who_wait() {
    for mode in each_mode() {
        for (limit, exit) in [
            ("--for=500ms", "stopped"),
            ("--timeout=500ms", "over_limit"),
        ] {
            let mut child = start(&[
                "--preemption",
                mode.name,
                "--json",
                limit,
                "wait.wasm(60000,stdin)",
                "wait.wasm(60000)",
            ]);
            let stdin = child.stdin.take();
            let (status, json, _) = finish(child);
            drop(stdin);
            assert_eq!(status, 1);
            for thread in json["threads"].as_array().unwrap() {
                assert_eq!(thread["exit"], exit);
                // Who waits for both waits for more than a time.
                let expected = match thread["guest"].as_str() {
                    _ if exit != "stopped" => serde_json::Value::Null,
                    Some("wait.wasm(60000)") => "a point in time".into(),
                    _ => "a host function".into(),
                };
                assert_eq!(thread["waits_for"], expected, "{thread}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_end_those_who_wait() {
    for (mode, signal) in each_mode().flat_map(|mode| [(mode, "-INT"), (mode, "-TERM")]) {
        let mut child = start(&[
            "--preemption",
            mode.name,
            "--json",
            "wait.wasm(60000,stdin)",
            "wait.wasm(60000)",
        ]);
        let stdin = child.stdin.take();
        common::until_it_listens(child.id());
        let id = child.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status();
        assert!(killed.unwrap().success());
        let (status, json, _) = finish(child);
        drop(stdin);
        assert_eq!(status, 1);
        assert_eq!(json["end"], "interrupted");
    }
}

#[test]
fn guests_that_wait_for_each_other_are_named() {
    for mode in each_mode() {
        let guests = ["join.wat:wait(2)", "join.wat:wait(1)"];
        let ran = mode.run(&guests).expect(1);
        for part in [
            "deadlock after",
            "thread 1 (join.wat:wait(2)) was waiting for guest thread 2",
            "thread 2 (join.wat:wait(1)) was waiting for guest thread 1",
        ] {
            assert!(ran.stdout.contains(part), "{}", ran.stdout);
        }
        let ran = mode.run(&[&["--json"], &guests[..]].concat()).expect(1);
        assert_eq!(ran.json()["end"], "deadlock");
        assert_eq!(ran.json()["threads"][1]["waits_for"], "guest thread 1");
    }
}

#[test]
fn guest_that_waits_in_a_memory_of_its_own_is_a_deadlock() {
    for (name, export) in [
        ("wait-alone.wat", ""),
        ("wait-exported.wat", r#"(export "m")"#),
    ] {
        let guest = file(
            name,
            format!(
                r#"(module
                    (memory {export} 1 1 shared)
                    (func (export "run")
                        (drop (memory.atomic.wait32
                            (i32.const 8) (i32.const 0) (i64.const -1)))))"#
            ),
        );
        for mode in each_mode() {
            let ran = mode.run(&["--for=60s", "--json", &guest]).expect(1);
            let json = ran.json();
            assert_eq!(json["end"], "deadlock");
            assert_eq!(json["threads"][0]["waits_for"], "the atomic at 0x8");
        }
    }
}
