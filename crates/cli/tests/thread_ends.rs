//! How guests with threads of their own end, and what ends them.

mod common;

use common::{ENDLESS, each_mode, last_line, rows};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

#[test]
fn status_of_a_thread_is_that_of_its_program() {
    for mode in each_mode() {
        let ran = mode.run(&["--json", "threads/exit.wasm(exit)"]).expect(7);
        assert_eq!(last_line(&ran), "exits");
        let json = ran.json();
        let row = &rows(&json)[0];
        assert_eq!((&row["exit"], &row["code"]), (&json!("exited"), &json!(7)));
        assert_eq!(row["ended_by"]["name"], "threads/exit.wasm(exit)#5");

        let ran = mode.run(&["threads/exit.wasm(exit,3)"]).expect(3);
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
