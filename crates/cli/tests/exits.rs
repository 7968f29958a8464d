//! How guests end, and what the exit status says of it.

mod common;

use common::{each_mode, file};

#[test]
fn status_is_zero_if_all_returned() {
    for mode in each_mode() {
        let ran = mode
            .run(&[
                "fib.wat:fib(20)",
                "numbers.wat:nothing",
                "primes.wasm(1000)",
            ])
            .expect(0);
        assert!(ran.stdout.contains("6765"), "{}", ran.stdout);
        assert!(
            ran.stdout.contains("primes: 168 primes below 1000"),
            "{}",
            ran.stdout
        );
        let last = ran.stdout.lines().last().unwrap();
        assert!(last.starts_with("all finished after "), "{last}");
        assert!(
            last.contains(&format!("({} preemption", mode.name)),
            "{last}"
        );
    }
}

#[test]
fn results_come_back_by_their_types() {
    for mode in each_mode() {
        let ran = mode
            .run(&[
                "--json",
                "numbers.wat:i32(0xffffffff)",
                "numbers.wat:i64(-9223372036854775808)",
                "numbers.wat:f32(1.5)",
                "numbers.wat:f64(nan)",
                "numbers.wat:swap(-3, 0.25)",
                "numbers.wat:make_v128",
                "numbers.wat:make_funcref()",
            ])
            .expect(0);
        let json = ran.json();
        let results = |i: usize| json["threads"][i]["results"].to_string();
        assert_eq!(results(0), "[-1]");
        assert_eq!(results(1), "[-9223372036854775808]");
        assert_eq!(results(2), "[1.5]");
        assert_eq!(results(3), "[\"NaN\"]");
        assert_eq!(results(4), "[0.25,-3]");
        assert_eq!(results(5), "[\"0x00000004000000030000000200000001\"]");
        assert_eq!(results(6), "[\"null\"]");
    }
}

#[test]
fn endless_loop_is_stopped_and_others_finish() {
    for mode in each_mode() {
        let ran = mode
            .run(&["--json", "--for", "1s", "spin.wat:run", "fib.wat:fib(20)"])
            .expect(1);
        let json = ran.json();
        assert_eq!(json["end"], "time_up");
        assert!(json["elapsed_ms"].as_f64().unwrap() >= 1000.0, "{json}");
        assert_eq!(json["threads"][0]["exit"], "stopped");
        assert_eq!(json["threads"][1]["exit"], "returned");
        assert_eq!(json["threads"][1]["results"][0], 6765);
    }
}

#[test]
fn trap_hurts_no_sibling_and_shows_its_backtrace() {
    for mode in each_mode() {
        let ran = mode
            .run(&["trap.wat", "fib.wat:fib(25)", "overflow.wat(0)"])
            .expect(1);
        let (table, traps) = ran.stdout.split_once("\nthread 1").unwrap();
        assert!(table.contains("75025"), "{table}");
        assert!(traps.starts_with(" (trap.wat) trapped: "), "{traps}");
        assert!(traps.contains("unreachable"), "{traps}");
        // The innermost function comes first.
        let frames = ["check_checksum", "read_block", "load_file"];
        let at = frames.map(|name| traps.find(&format!("at trap!{name} ")).expect(name));
        assert!(at.is_sorted(), "{traps}");
        assert!(
            traps.contains("thread 3 (overflow.wat(0)) trapped: "),
            "{traps}"
        );
        assert!(traps.contains("call stack exhausted"), "{traps}");
    }
}

#[test]
fn out_of_bounds_access_is_a_trap() {
    for mode in each_mode() {
        let ran = mode
            .run(&["--json", "numbers.wat:load(0x10000)"])
            .expect(134);
        let thread = &ran.json()["threads"][0];
        assert_eq!(thread["exit"], "trapped");
        assert!(
            thread["error"]
                .as_str()
                .unwrap()
                .contains("out of bounds memory access"),
            "{thread}"
        );
        assert_eq!(thread["results"], serde_json::json!([]));
        assert_eq!(thread["backtrace"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn exit_code_zero_is_a_return_and_others_are_not() {
    for mode in each_mode() {
        let ran = mode
            .run(&["--json", "echo.wasm", "--env", "STATUS=0"])
            .expect(0);
        assert_eq!(ran.json()["threads"][0]["exit"], "returned");

        let ran = mode
            .run(&["--json", "echo.wasm", "fib.wat:fib(5)", "--env", "STATUS=7"])
            .expect(1);
        assert_eq!(ran.json()["threads"][0]["exit"], "exited");
        assert_eq!(ran.json()["threads"][0]["code"], 7);
        assert_eq!(ran.json()["threads"][1]["exit"], "returned");

        for (status, of_command) in [(126, 126), (255, 255), (300, 44), (256, 1), (-1, 255)] {
            let env = format!("STATUS={status}");
            let ran = mode
                .run(&["--json", "echo.wasm", "--env", &env])
                .expect(of_command);
            assert_eq!(ran.json()["threads"][0]["exit"], "exited");
            assert_eq!(ran.json()["threads"][0]["code"], status);
        }

        let ran = mode.run(&["echo.wasm", "--env", "STATUS=7"]).expect(7);
        assert!(ran.stdout.contains("exited 7"), "{}", ran.stdout);
    }
}

#[test]
fn status_of_a_single_guest_is_the_commands() {
    for mode in each_mode() {
        mode.run(&["echo.wasm", "--env=STATUS=3"]).expect(3);
        mode.run(&["threads/exit.wasm(exit,3)"]).expect(3);
        mode.run(&["trap.wat"]).expect(134);
        mode.run(&["fib.wat:fib(5)"]).expect(0);
        // Its limits, and the end of the run, are not its own doing.
        mode.run(&["--timeout=50ms", "spin.wat"]).expect(1);
        mode.run(&["--for=50ms", "spin.wat"]).expect(1);
        // Of several, one would hide another.
        mode.run(&["trap.wat", "fib.wat:fib(5)"]).expect(1);
        let args = ["echo.wasm", "echo.wasm", "--env=1=STATUS=3"];
        mode.run(&args).expect(1);
    }
}

#[test]
fn closed_stdout_is_no_crash() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
        .args(["run", "primes.wasm(1000)"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // Whether the guest has printed all before it was closed is a matter of chance.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{stderr}");
    assert_eq!(stderr, "");
}

#[cfg(unix)]
#[test]
fn second_ctrl_c_ends_a_command_whose_output_nobody_reads() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;
    // Prints more than anybody reads.
    let guest = file(
        "waits.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "more\n")
            (data (i32.const 16) "\00\00\00\00\00\80\00\00")
            (func (export "_start")
                (loop $again
                    (drop (call $write
                        (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
                    (br $again))))"#,
    );
    for mode in each_mode() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--preemption", mode.name, &guest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _never_written_to = child.stdin.take();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let interrupt = || {
            let id = child.id().to_string();
            let sent = Command::new("kill").args(["-INT", &id]).status();
            assert!(sent.unwrap().success());
            std::thread::sleep(Duration::from_millis(300));
        };
        // Two at once may arrive as one.
        interrupt();
        interrupt();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{}", mode.name);
    }
}
