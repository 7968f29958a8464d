//! Components that are commands of WASI 0.2 run like commands of WASI preview 1.

mod common;

use common::components::{command, describer};
use common::{each_mode, last_line, out, rows, run, run_with_stdin};

#[test]
fn command_prints_and_reads() {
    let hello = command(
        "component-hello.wat",
        "hello\\n",
        "(call $print (i32.const 1000) (i32.const 6)) (i32.const 0)",
    );
    for mode in each_mode() {
        let ran = mode
            .run(&["--quiet", &hello, &hello, "primes.wasm(10)"])
            .expect(0);
        let hellos = ran.stdout.lines().filter(|line| *line == "hello").count();
        assert_eq!(hellos, 2, "{}", ran.stdout);
    }
    let cat = command(
        "component-cat.wat",
        "",
        "(call $read (call $stdin) (i64.const 100) (i32.const 16))
        (if (i32.load8_u (i32.const 16)) (then unreachable))
        (call $print-line (i32.const 20)) (i32.const 0)",
    );
    let ran = run_with_stdin(&["--quiet", &cat], "from stdin").expect(0);
    assert_eq!(ran.stdout, "from stdin\n");
    let input = common::file("component-input.txt", "from a file");
    let option = format!("--stdin=1={input}");
    let ran = run(&["--quiet", &option, &cat]).expect(0);
    assert_eq!(ran.stdout, "from a file\n");
}

#[test]
fn guests_have_arguments_environments_and_directories_of_their_own() {
    let guest = describer("component-describe.wat");
    let dir = out("component-dir");
    std::fs::create_dir_all(&dir).unwrap();
    let dirs = [
        format!("--dir=1={dir}::one"),
        format!("--dir-ro=2={dir}::two"),
    ];
    let guests = [format!("{guest}(a, b c)"), guest.clone()];
    let args = [
        "--quiet",
        "--env=1=KEY=first",
        "--env=2=KEY=second",
        "--argv0=2=other",
    ];
    for mode in each_mode() {
        let args = [&args[..], &[&dirs[0], &dirs[1], &guests[0], &guests[1]]].concat();
        let ran = mode.run_one_by_one(&args).expect(0);
        let first = "component-describe.wat\na\nb c\nKEY\nfirst\none\n";
        let second = "other\nKEY\nsecond\ntwo\n";
        assert_eq!(ran.stdout, format!("{first}{second}"));
    }
    let ran = run(&["--quiet", &guest, "--", "-v", "x"]).expect(0);
    assert_eq!(ran.stdout, "component-describe.wat\n-v\nx\n");
}

#[test]
fn lines_begin_with_the_labels_of_their_guests() {
    let hello = command(
        "component-label.wat",
        "a\\nb\\n",
        "(call $print (i32.const 1000) (i32.const 4)) (i32.const 0)",
    );
    let ran = run(&["--quiet", "--label", &hello]).expect(0);
    assert!(
        ran.stdout.ends_with("component-label.wat | b\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn status_is_that_of_a_command() {
    let exiting = |name: &str, code: &str| command(name, "", code);
    let failed = exiting("component-failed.wat", "(i32.const 1)");
    let exits = exiting(
        "component-exit-1.wat",
        "(call $exit (i32.const 1)) unreachable",
    );
    let ends = exiting(
        "component-exit-0.wat",
        "(call $exit (i32.const 0)) unreachable",
    );
    let traps = exiting("component-traps.wat", "unreachable");
    for mode in each_mode() {
        for guest in [&failed, &exits] {
            let json = mode.run(&["--json", guest]).expect(1).json();
            assert_eq!(rows(&json)[0]["exit"], "exited");
            assert_eq!(rows(&json)[0]["code"], 1);
        }
        let json = mode.run(&["--json", &ends]).expect(0).json();
        assert_eq!(rows(&json)[0]["exit"], "returned");
        assert_eq!(rows(&json)[0]["results"], serde_json::json!([]));
        let ran = mode.run(&["--json", &traps]).expect(134);
        assert_eq!(
            rows(&ran.json())[0]["exit"],
            "trapped",
            "{}",
            last_line(&ran)
        );
        let json = mode
            .run(&["--json", &traps, &ends, "fib.wat:fib(20)"])
            .expect(1)
            .json();
        assert_eq!(rows(&json)[1]["exit"], "returned");
        assert_eq!(rows(&json)[2]["results"][0], 6765);
    }
}

#[test]
fn command_ends_when_nobody_reads_what_it_prints() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let chatty = command(
        "component-chatty.wat",
        "more\\n",
        "(loop $again (call $print (i32.const 1000) (i32.const 5)) (br $again)) unreachable",
    );
    for mode in each_mode() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(["run", "--preemption", mode.name, &chatty])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "more\n");
        drop(stdout);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{}", mode.name);
    }
}
