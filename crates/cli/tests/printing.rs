//! Guests print as fast as somebody reads; who does not read holds up nobody but
//! those who print.

#![cfg(unix)]

mod common;

use common::{each_mode, file, out, read};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Prints `text` for ever.
fn endless(name: &str, text: &str) -> String {
    printer(name, text, "(br $again)")
}

/// Prints `text` so often.
fn finite(name: &str, text: &str, times: u32) -> String {
    let until = format!(
        "(br_if $again (i32.ne (i32.const {times})
            (local.tee $i (i32.add (local.get $i) (i32.const 1)))))"
    );
    printer(name, text, &until)
}

fn printer(name: &str, text: &str, again: &str) -> String {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let len = text.len();
    file(
        name,
        format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write"
                    (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 64) "{escaped}")
                (func (export "_start") (local $i i32)
                    (i32.store (i32.const 16) (i32.const 64))
                    (i32.store (i32.const 20) (i32.const {len}))
                    (loop $again
                        (drop (call $write
                            (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
                        {again})))"#
        ),
    )
}

/// `preempt run ARGS`, whose stdout nobody reads yet.
fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_preempt"))
        .arg("run")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Its status, and what it has printed to stderr.
#[track_caller]
fn ended(mut child: Child) -> (i32, String) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut stderr = String::new();
    let mut from = child.stderr.take().unwrap();
    from.read_to_string(&mut stderr).unwrap();
    (status.code().unwrap(), stderr)
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

#[test]
fn reader_who_does_not_read_holds_up_no_sibling_and_no_end() {
    // Fills a pipe in no time.
    let yes = endless("yes.wat", &"yes\n".repeat(4_000));
    for mode in each_mode() {
        let report = out("not-read.json");
        let mut child = start(&[
            "--preemption",
            mode.name,
            "--for=2s",
            "--json-file",
            &report,
            &yes,
            "spin.wat",
        ]);
        let stdout = child.stdout.take();
        let (status, stderr) = ended(child);
        drop(stdout);
        assert_eq!(status, 1, "{stderr}");
        assert!(stderr.contains("was dropped"), "{stderr}");
        let json = json(&report);
        assert_eq!(json["end"], "time_up");
        let waits = &json["threads"][0]["waits_for"];
        assert_eq!(waits, "a host function", "{json}");
        let cpu_time = json["threads"][1]["cpu_time_ms"].as_f64().unwrap();
        assert!(cpu_time > 10.0, "{json}");
    }
}

#[test]
fn ctrl_c_ends_those_who_wait_for_a_reader() {
    let yes = endless("yes-ctrl-c.wat", "yes\n");
    for mode in each_mode() {
        let report = out("ctrl-c.json");
        let args = ["--preemption", mode.name, "--json-file", &report, &yes];
        let mut child = start(&args);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.unwrap().success());
        let (status, stderr) = ended(child);
        assert_eq!(status, 1, "{stderr}");
        assert_eq!(json(&report)["end"], "interrupted");
    }
}

#[test]
fn all_is_there_for_a_reader_who_comes_late() {
    let (line, times) = ("a line of thirty-two characters\n", 10_000);
    let guest = finite("late.wat", line, times);
    for mode in each_mode() {
        let mut child = start(&["--preemption", mode.name, &guest, "fib.wat:fib(10)"]);
        // Longer than is waited for after `--for`.
        thread::sleep(Duration::from_millis(2500));
        let mut printed = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        let (status, stderr) = ended(child);
        assert_eq!((status, &*stderr), (0, ""));
        let (lines, report) = printed.split_at(line.len() * times as usize);
        assert_eq!(lines, line.repeat(times as usize));
        assert!(report.contains("all finished after"), "{report}");
    }
}

#[test]
fn guest_that_prints_to_a_closed_stdout_is_stopped() {
    let yes = endless("yes-closed.wat", "yes\n");
    for mode in each_mode() {
        let report = out("closed.json");
        let args = ["--preemption", mode.name, "--json-file", &report, &yes];
        let mut child = start(&[&args[..], &["fib.wat:fib(20)"]].concat());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        let (status, stderr) = ended(child);
        assert_eq!((status, &*stderr), (1, ""));
        let json = json(&report);
        assert_eq!(json["end"], "all_finished");
        assert_eq!(json["threads"][0]["exit"], "stopped");
        assert_eq!(json["threads"][0]["error"], "stdout is closed");
        assert_eq!(json["threads"][1]["exit"], "returned");
    }
}

#[test]
fn closed_stdout_keeps_no_file_from_being_written() {
    let part = finite("part.wat", "no newline", 1);
    let search = ["--preemption=fuel", "--policy=random", "--search=2"];
    for options in [&[][..], &search] {
        let (report, trace) = (out("part.json"), out("part.txt"));
        let files = ["--json-file", &report, "--trace", &trace];
        let mut child = start(&[options, &files, &[&part, "trap.wat"]].concat());
        drop(child.stdout.take());
        let (status, stderr) = ended(child);
        assert_eq!((status, &*stderr), (1, ""));
        assert_eq!(json(&report)["threads"][1]["exit"], "trapped");
        assert!(!read(&trace).is_empty());
    }
}
