//! Bad usage is found before anything runs: status 2, and an error that names
//! the value and what would work.

mod common;

use common::{bad_usage, each_mode, file, out, run, run_with_stdin, signals_work};

#[test]
fn command_without_guests_is_an_error() {
    bad_usage(&[], &["GUEST", "Usage"]);
}

#[test]
fn help_documents_guests_and_exit_statuses() {
    let ran = run(&["--help"]).expect(0);
    for part in ["'fib.wat:fib(30)'", "Exit status:", "--preemption", "--env"] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    for heading in ["Scheduling:", "Limits:", "Output:", "Arguments:"] {
        let at = |line: &str| line == heading;
        assert_eq!(ran.stdout.lines().filter(|line| at(line)).count(), 1);
    }
    for part in ["x86-64 and aarch64 Linux", "gigabytes", "--memory-limit"] {
        let words = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{part} in {words}");
    }
    let default = if signals_work() { "signal" } else { "epoch" };
    for part in ["signal", "epoch", "fuel", &format!("[default: {default}]")] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
}

#[test]
fn unreadable_guest_is_named() {
    bad_usage(&["nope.wat:run"], &["cannot read nope.wat", "No such file"]);
    bad_usage(&["../fixtures"], &["cannot read ../fixtures", "directory"]);
}

#[cfg(unix)]
#[test]
fn guests_are_files_that_end() {
    let empty = file("empty.wat", "");
    bad_usage(&[&empty], &[&empty, "the file is empty"]);
    let fifo = out("fifo.wat");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for path in [&*fifo, "/dev/zero"] {
        bad_usage(&[path], &[path, "neither a regular file nor"]);
        bad_usage(
            &["--replay", path, "spin.wat"],
            &[path, "neither a regular file nor"],
        );
    }
    let module = r#"(module (func (export "run") (result i32) (i32.const 7)))"#;
    let ran = run_with_stdin(&["--json", "/dev/stdin"], module).expect(0);
    assert_eq!(ran.json()["threads"][0]["results"][0], 7);
}

#[cfg(unix)]
#[test]
fn argument_that_is_not_utf8_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_preempt"))
        .args([OsStr::new("run"), OsStr::from_bytes(b"a\xff.wat")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(r#""a\xFF.wat" is not valid UTF-8"#),
        "{stderr}"
    );
}

#[test]
fn invalid_modules_are_named_with_the_reason() {
    let text = file("syntax.wat", "(module (func (export \"f\") (i32.bogus)))");
    bad_usage(&[&text], &[&text, "unknown operator", "syntax.wat:1:29"]);
    let types = file("types.wat", "(module (func (export \"f\") (result i32)))");
    bad_usage(&[&types], &[&types, "type mismatch"]);
    let junk = file("junk.wasm", b"\0asm\x01\0\0\0\xff\xff");
    bad_usage(&[&junk], &[&junk, "not a valid WebAssembly module"]);
    let component = file(
        "component.wat",
        "(component (core module (func (result i32))))",
    );
    bad_usage(
        &[&component],
        &[&component, "cannot run", "exports no function"],
    );
}

#[test]
fn more_guests_than_a_store_holds_are_refused() {
    bad_usage(&["spin.wat"; 10_001], &["10001 guests", "holds 10000"]);
}

#[test]
fn good_guest_does_not_run_beside_a_bad_one() {
    bad_usage(&["primes.wasm(1000)", "nope.wat"], &["nope.wat"]);
}

#[test]
fn unknown_export_suggests_and_lists() {
    bad_usage(
        &["fib.wat:fob"],
        &[
            "fib.wat",
            "no function `fob`",
            "did you mean `fib`?",
            "fib(i32) -> i32",
        ],
    );
    bad_usage(
        &["numbers.wat:memory"],
        &["`memory` is a memory, not a function"],
    );
    bad_usage(
        &["numbers.wat"],
        &["which of its functions", "swap(i32, f64) -> (f64, i32)"],
    );
    let none = file("none.wat", "(module)");
    bad_usage(&[&none], &["it exports no function"]);
}

#[test]
fn arguments_must_fit_the_signature() {
    bad_usage(
        &["fib.wat"],
        &[
            "passes 0 arguments to fib(i32) -> i32, which takes 1",
            "`fib.wat:fib(i32)`",
        ],
    );
    bad_usage(&["fib.wat:fib(1,2)"], &["passes 2 arguments", "takes 1"]);
    bad_usage(
        &["spin.wat:run(7)"],
        &["passes 1 argument to run()", "takes 0"],
    );
    bad_usage(
        &["fib.wat:fib(ten)"],
        &[
            "argument 1 of fib(i32) -> i32",
            "`ten`",
            "from -2147483648 to 4294967295",
        ],
    );
    bad_usage(&["numbers.wat:swap(1, x)"], &["argument 2", "`x`", "f64"]);
    bad_usage(
        &["numbers.wat:v128(1)"],
        &["v128", "i32, i64, f32 and f64 can"],
    );
    let externref = file(
        "externref.wat",
        r#"(module (func (export "externref") (param externref)))"#,
    );
    bad_usage(
        &["--preemption=epoch", &format!("{externref}(1)")],
        &["externref", "cannot be given"],
    );
    bad_usage(&["fib.wat:fib(1"], &["`fib.wat:fib(1`", "not closed"]);
    let start = file("start.wat", r#"(module (func (export "_start")))"#);
    bad_usage(&[&format!("{start}(1)")], &["does not import WASI"]);
}

#[test]
fn missing_imports_are_all_listed() {
    let guest = file(
        "imports.wat",
        r#"(module (import "env" "log" (func)) (import "env" "memory" (memory 1))
            (func (export "run")))"#,
    );
    bad_usage(
        &[&guest],
        &[&guest, "env::log, env::memory", "wasi_snapshot_preview1"],
    );
}

#[test]
fn import_of_another_type_is_an_error() {
    let guest = file(
        "import-type.wat",
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
            (func (export "run")))"#,
    );
    bad_usage(
        &[&guest],
        &[&guest, "proc_exit", "incompatible import type"],
    );
}

#[test]
fn slices_must_fit_the_preemption() {
    let fuel = &["--preemption", "fuel", "spin.wat", "--slice"][..];
    bad_usage(
        &[fuel, &["0"]].concat(),
        &["--slice 0", "above zero, such as 100000"],
    );
    bad_usage(
        &[fuel, &["10ms"]].concat(),
        &["--slice 10ms", "such as 100000"],
    );
    bad_usage(
        &[fuel, &["lots"]].concat(),
        &["--slice lots", "such as 100000"],
    );
    bad_usage(
        &[fuel, &["9223372036854775808"]].concat(),
        &["--slice 9223372036854775808", "at most 9223372036854775807"],
    );
    for mode in each_mode().filter(|mode| mode.name != "fuel") {
        let args = &["--preemption", mode.name, "spin.wat", "--slice"][..];
        bad_usage(
            &[args, &["0ms"]].concat(),
            &["--slice 0ms", "above zero, such as 10ms"],
        );
        bad_usage(
            &[args, &["100000"]].concat(),
            &["--slice 100000", "no unit", mode.name, "10ms"],
        );
        bad_usage(
            &[args, &["soon"]].concat(),
            &["--slice soon", "such as 10ms"],
        );
        bad_usage(
            &[args, &["1000years"]].concat(),
            &["--slice 1000years", "at most"],
        );
    }
}

#[test]
fn times_must_be_above_zero_and_have_a_unit() {
    bad_usage(
        &["spin.wat", "--for", "0s"],
        &["--for", "0s", "above zero, such as 2s"],
    );
    bad_usage(&["spin.wat", "--for", "2"], &["--for", "'2'", "such as 2s"]);
    bad_usage(
        &["spin.wat", "--interleaving=0ms"],
        &["--interleaving 0ms", "above zero"],
    );
    bad_usage(&["--slice", "-1", "spin.wat"], &["--slice -1 is not"]);
    for option in ["--for", "--timeout", "--cpu-limit"] {
        bad_usage(
            &[option, "-1s", "spin.wat"],
            &[option, "-1s", "never negative"],
        );
    }
}

#[test]
fn unknown_preemption_lists_the_known_ones() {
    bad_usage(
        &["--preemption", "luck", "spin.wat"],
        &["luck", "signal", "epoch", "fuel"],
    );
}

#[test]
fn slice_that_is_too_short_for_signals_is_refused() {
    if !signals_work() {
        return;
    }
    bad_usage(
        &["--preemption=signal", "--slice=49us", "primes.wasm(1000)"],
        &["--slice 49us", "out of range", "at least 50µs"],
    );
    run(&["--preemption=signal", "--slice=50us", "primes.wasm(1000)"]).expect(0);
}

#[test]
fn guests_of_all_kinds_run_under_each_source() {
    for (name, content) in [
        (
            "gc.wat",
            "(type $t (struct)) (func (export \"run\") (drop (struct.new $t)))",
        ),
        (
            "reference.wat",
            "(func (export \"run\") (result externref) (ref.null extern))",
        ),
        (
            "exception.wat",
            "(tag $t) (func (export \"run\") (block (try_table (catch $t 0) (throw $t))))",
        ),
        ("growable.wat", "(table 1 funcref) (func (export \"run\"))"),
        (
            "non-nullable.wat",
            "(table $t 1 (ref func) (ref.func $run))
             (func $run (export \"run\") (drop (table.grow $t (ref.func $run) (i32.const 9))))",
        ),
        (
            "passive.wat",
            "(func $run (export \"run\")) (elem func $run)",
        ),
    ] {
        let guest = file(name, format!("(module {content})"));
        for source in ["fuel", "epoch", "signal"] {
            if source != "signal" || signals_work() {
                let source = format!("--preemption={source}");
                run(&[&source, "primes.wasm(1000)", &guest]).expect(0);
            }
        }
    }
}

#[test]
fn json_file_has_what_json_prints() {
    let path = file("report.json", "of another run");
    let ran = run(&["--json-file", &path, "fib.wat:fib(10)"]).expect(0);
    assert!(ran.stdout.contains("all finished after"), "{}", ran.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["threads"][0]["results"][0], 55);

    let ran = run(&["--json", "--json-file", &path, "fib.wat:fib(10)"]).expect(0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ran.stdout);

    bad_usage(
        &["--json-file", "../fixtures", "primes.wasm(1000)"],
        &["--json-file", "cannot write ../fixtures", "directory"],
    );
}

#[test]
fn no_file_is_written_over_another_that_is_used() {
    let guest = file("overwritten.wat", r#"(module (func (export "run")))"#);
    let same = guest.replace("overwritten.wat", "./overwritten.wat");
    let input = file("overwritten.txt", "hello");
    let report = out("twice.json");
    let twice = report.replace("twice.json", "./twice.json");
    for (args, what) in [
        (&["--json-file", &same, &guest][..], "the command reads"),
        (
            &["--timeline", &input, "--stdin", &input, "echo.wasm"],
            "the command reads",
        ),
        (
            &["--trace", &report, "--json-file", &twice, "spin.wat"],
            "--trace writes to",
        ),
    ] {
        bad_usage(args, &[what, "the same file"]);
    }
    assert!(common::read(&guest).starts_with("(module"));
    assert_eq!(common::read(&input), "hello");
    let nowhere = [
        "--json-file=/dev/null",
        "--record=/dev/null",
        "--for=1ms",
        "spin.wat",
    ];
    if cfg!(unix) {
        run(&nowhere).expect(1);
    }
}

#[test]
fn settings_for_a_guest_need_one_that_can_see_them() {
    for option in ["--env=1=A=b", "--env=fib.wat:fib(1)=A=b", "--stdin=1=x.txt"] {
        bad_usage(
            &[option, "fib.wat:fib(1)", "echo.wasm"],
            &[option.split_once('=').unwrap().1, "does not import WASI"],
        );
    }
    for option in ["--env=A=b", "--stdin=x.txt"] {
        bad_usage(&[option, "fib.wat:fib(1)"], &["no guest imports WASI"]);
    }
    for text in ["", "=b"] {
        bad_usage(
            &["--env", text, "echo.wasm"],
            &["--env", text, "GUEST=NAME=VAL"],
        );
    }
    bad_usage(&["--stdin", "1=", "echo.wasm"], &["GUEST=FILE"]);
    bad_usage(
        &["--stdin", "nope.txt", "echo.wasm"],
        &["--stdin", "cannot read nope.txt"],
    );
    bad_usage(
        &["--stdin", "../fixtures", "echo.wasm"],
        &["is a directory"],
    );
}
