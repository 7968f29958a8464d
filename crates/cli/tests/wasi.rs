//! WASI guests have arguments, an environment and standard streams of their
//! own.

mod common;

use common::{each_mode, file};

#[test]
fn guests_have_their_own_arguments() {
    for mode in each_mode() {
        // Nobody has to wait for a file.
        let stdin = format!("--stdin={}", file("empty.txt", ""));
        let ran = mode
            .run_one_by_one(&["echo.wasm(one, two words)", r"echo.wasm(a\,b)", &stdin])
            .expect(0);
        let args: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| line.starts_with("arg"))
            .collect();
        assert_eq!(
            args,
            [
                "arg 0: echo.wasm",
                "arg 1: one",
                "arg 2: two words",
                "arg 0: echo.wasm",
                "arg 1: a,b"
            ]
        );
    }
}

#[test]
fn guests_have_their_own_environment_and_not_the_hosts() {
    for mode in each_mode() {
        let ran = mode
            .run_one_by_one(&[
                "echo.wasm(first)",
                "echo.wasm(second)",
                &format!("--stdin={}", file("nothing.txt", "")),
                "--env=ALL=x",
                "--env=1=ONE=y",
                "--env=echo.wasm(second)=ALL=z",
            ])
            .expect(0);
        let (first, second) = ran.stdout.split_once("arg 1: second").unwrap();
        let env = |text: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix("env: "));
            lines.map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(env(first), ["ALL=x", "ONE=y"]);
        assert_eq!(env(second), ["ALL=z"]);
    }
}

#[test]
fn guests_have_their_own_standard_input() {
    for mode in each_mode() {
        let hello = file("hello.txt", "hello\n");
        let ran = mode
            .run_one_by_one_with_stdin(
                &[
                    "echo.wasm(file)",
                    "echo.wasm(inherited)",
                    &format!("--stdin=1={hello}"),
                ],
                "from the shell\n",
            )
            .expect(0);
        let (first, second) = ran.stdout.split_once("arg 1: inherited").unwrap();
        assert!(first.contains("stdin: hello\n"), "{first}");
        assert!(!first.contains("from the shell"), "{first}");
        assert!(second.contains("stdin: from the shell\n"), "{second}");
    }
}

#[test]
fn standard_output_and_error_stay_apart() {
    for mode in each_mode() {
        let ran = mode.run_one_by_one(&["echo.wasm"]).expect(0);
        assert!(
            ran.stdout.starts_with("arg 0: echo.wasm\n"),
            "{}",
            ran.stdout
        );
        assert_eq!(ran.stderr, "echo.wasm: done\n");
    }
}

#[test]
fn json_is_alone_on_stdout() {
    for mode in each_mode() {
        let ran = mode
            .run_one_by_one(&["--json", "echo.wasm", "primes.wasm(100)"])
            .expect(0);
        assert_eq!(ran.json()["threads"].as_array().unwrap().len(), 2);
        for line in [
            "arg 0: echo.wasm",
            "echo.wasm: done",
            "primes: 25 primes below 100",
        ] {
            assert!(ran.stderr.lines().any(|l| l == line), "{}", ran.stderr);
        }
    }
}

#[test]
fn lines_of_two_guests_never_mix() {
    // Each prints its lines byte by byte, and is preempted within them.
    let printer = |name: &str| {
        let wat = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write"
                    (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "{name}{name}{name}{name}\n")
                (func (export "_start") (local $i i32) (local $line i32)
                    (loop $lines
                        (local.set $i (i32.const 0))
                        (loop $bytes
                            (i32.store (i32.const 16) (local.get $i))
                            (i32.store (i32.const 20) (i32.const 1))
                            (drop (call $write
                                (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
                            (br_if $bytes (i32.ne (i32.const 5)
                                (local.tee $i (i32.add (local.get $i) (i32.const 1))))))
                        (br_if $lines (i32.ne (i32.const 50)
                            (local.tee $line
                                (i32.add (local.get $line) (i32.const 1))))))))"#
        );
        file(&format!("printer-{name}.wat"), wat)
    };
    let (a, b) = (printer("a"), printer("b"));
    for mode in each_mode() {
        let slice = match mode.name {
            "fuel" => "--slice=20",
            _ => "--slice=50us",
        };
        let ran = mode.run(&[slice, &a, &b]).expect(0);
        let lines: Vec<&str> = ran.stdout.lines().take(100).collect();
        let count = |line: &str| lines.iter().filter(|l| **l == line).count();
        assert_eq!((count("aaaa"), count("bbbb")), (50, 50), "{}", ran.stdout);
        // They took turns; how many, only fuel can tell.
        let turns = lines.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(
            turns > if mode.name == "fuel" { 20 } else { 0 },
            "{turns} turns in\n{}",
            ran.stdout
        );
    }
}

#[test]
fn unfinished_line_is_printed_in_the_end() {
    for mode in each_mode() {
        let wat = r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "no newline")
            (data (i32.const 16) "\00\00\00\00\0a\00\00\00")
            (func (export "_start")
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;
        let ran = mode.run_one_by_one(&[&file("tail.wat", wat)]).expect(0);
        assert!(ran.stdout.starts_with("no newline\n"), "{}", ran.stdout);
    }
}

#[test]
fn library_is_initialized_before_its_export_runs() {
    for mode in each_mode() {
        let wat = r#"(module
            (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
            (memory (export "memory") 1)
            (global $ready (mut i32) (i32.const 0))
            (func (export "_initialize") (global.set $ready (i32.const 1)))
            (func (export "ready") (result i32)
                (drop (call $yield))
                (global.get $ready)))"#;
        let guest = file("library.wat", wat);
        let ran = mode
            .run_one_by_one(&["--json", &format!("{guest}:ready")])
            .expect(0);
        assert_eq!(ran.json()["threads"][0]["results"][0], 1);
    }
}

#[test]
fn library_that_imports_nothing_is_initialized_too() {
    for mode in each_mode() {
        let wat = r#"(module
            (global $ready (mut i32) (i32.const 0))
            (func (export "_initialize") (global.set $ready (i32.const 1)))
            (func (export "ready") (result i32) (global.get $ready)))"#;
        let guest = file("plain_library.wat", wat);
        let ran = mode
            .run_one_by_one(&["--json", &format!("{guest}:ready")])
            .expect(0);
        assert_eq!(ran.json()["threads"][0]["results"][0], 1);
    }
}

#[test]
fn question_is_printed_before_its_answer_is_read() {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "name? ")
        (data (i32.const 16) "\00\00\00\00\06\00\00\00")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
            (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
            (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;
    let guest = file("ask.wat", wat);
    for mode in each_mode() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--preemption", mode.name, &guest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, question) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut question = [0; 6];
            stdout.read_exact(&mut question).unwrap();
            sender.send(question).unwrap();
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            rest
        });
        let question = question.recv_timeout(Duration::from_secs(20));
        // Lets the guest end, whatever it printed.
        stdin.write_all(b"Alice\n").unwrap();
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(&question.unwrap(), b"name? ");
        assert!(reader.join().unwrap().starts_with("Alice\n"));
    }
}
