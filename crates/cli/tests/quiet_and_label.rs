//! What is printed besides guests' output, and in front of it.

mod common;

use common::{bad_usage, each_mode, out, read, run};

#[test]
fn quiet_run_prints_what_guests_print() {
    for mode in each_mode() {
        let ran = mode.run(&["--quiet", "echo.wasm(a)"]).expect(0);
        assert_eq!(ran.stdout, "arg 0: echo.wasm\narg 1: a\n");
        assert_eq!(ran.stderr, "echo.wasm: done\n");
    }
}

#[test]
fn quiet_run_tells_what_went_wrong() {
    for mode in each_mode() {
        let ran = mode.run(&["-q", "fib.wat:fib(5)", "trap.wat"]).expect(1);
        assert_eq!(ran.stdout, "");
        let says = "thread 2 (trap.wat) trapped: ";
        assert!(ran.stderr.starts_with(says), "{}", ran.stderr);
        let ran = mode.run(&["-q", "--cpu-limit=1ms", "spin.wat"]).expect(1);
        assert_eq!(ran.stdout, "");
        let says = "thread 1 (spin.wat) went over its CPU limit of 1ms: ";
        assert!(ran.stderr.starts_with(says), "{}", ran.stderr);
    }
}

#[test]
fn quiet_run_still_writes_files_and_has_a_status() {
    let report = out("quiet.json");
    let args = [
        "--quiet",
        "--json-file",
        &report,
        "--env=STATUS=3",
        "echo.wasm",
    ];
    let ran = run(&args);
    assert_eq!(ran.status, 3);
    assert!(read(&report).contains("\"code\": 3"));
}

#[test]
fn quiet_search_tells_what_it_found() {
    let search = ["-q", "--preemption=fuel", "--policy=random", "--search=3"];
    let ran = run(&[&search[..], &["trap.wat"]].concat()).expect(1);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("seed 0: trap.wat trapped"),
        "{}",
        ran.stderr
    );
    let ran = run(&["-q", "--policy=random", "fib.wat:fib(3)"]).expect(0);
    assert_eq!((ran.stdout, ran.stderr), (String::new(), String::new()));
}

#[test]
fn quiet_report_is_a_contradiction() {
    for other in ["--json", "--interleaving"] {
        bad_usage(&["--quiet", other, "spin.wat"], &["--quiet", other]);
    }
}

#[test]
fn labelled_lines_name_their_guest() {
    for mode in each_mode() {
        let ran = mode.run(&["-q", "--label", "echo.wasm(a)", "echo.wasm(b, c)"]);
        let ran = ran.expect(0);
        let lines = |label: &str| {
            let lines = ran
                .stdout
                .lines()
                .filter_map(|line| line.strip_prefix(label));
            lines.collect::<Vec<_>>()
        };
        let first = ["arg 0: echo.wasm", "arg 1: a"];
        assert_eq!(lines("echo.wasm(a)    | "), first, "{}", ran.stdout);
        let second = ["arg 0: echo.wasm", "arg 1: b", "arg 2: c"];
        assert_eq!(lines("echo.wasm(b, c) | "), second, "{}", ran.stdout);
        assert_eq!(ran.stdout.lines().count(), 5);
        let mut errors: Vec<&str> = ran.stderr.lines().collect();
        errors.sort_unstable();
        let done = [
            "echo.wasm(a)    | echo.wasm: done",
            "echo.wasm(b, c) | echo.wasm: done",
        ];
        assert_eq!(errors, done);
    }
}

#[test]
fn labels_of_equal_guests_have_numbers() {
    let ran = run(&["--label", "--json", "echo.wasm", "echo.wasm"]).expect(0);
    for label in ["1 echo.wasm | arg 0: ", "2 echo.wasm | arg 0: "] {
        assert!(ran.stderr.contains(label), "{}", ran.stderr);
    }
}
