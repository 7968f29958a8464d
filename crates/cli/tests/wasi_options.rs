//! The options of `wasmtime run` for WASI guests: directories, the environment and `argv[0]`.

mod common;

use common::{bad_usage, each_mode, file, run};
use std::path::PathBuf;

/// A directory for the test of this name, with a file.
fn dir(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("in"), "hello").unwrap();
    path.into_os_string().into_string().unwrap()
}

/// Opens a file in the directory of descriptor 3, and returns the error, how long the name
/// of the directory is, and its first byte.
fn opener() -> String {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get"
            (func $prestat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
            (func $name (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "in")
        (data (i32.const 8) "out")
        (func $describe (param $error i32) (result i32 i32 i32)
            (drop (call $prestat (i32.const 3) (i32.const 100)))
            (drop (call $name (i32.const 3) (i32.const 200) (i32.load (i32.const 104))))
            (local.get $error) (i32.load (i32.const 104)) (i32.load8_u (i32.const 200)))
        (func (export "read") (result i32 i32 i32)
            (call $describe (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 2)
                (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 300))))
        (func (export "create") (result i32 i32 i32)
            (call $describe (call $open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 3)
                (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 300)))))"#;
    file("opener.wat", wat)
}

fn results(ran: &common::Ran, guest: usize) -> Vec<i64> {
    let json = ran.json();
    let results = json["threads"][guest]["results"].as_array().unwrap();
    results
        .iter()
        .map(|value| value.as_i64().unwrap())
        .collect()
}

const NOT_PERMITTED: i64 = 63;
const NO_SUCH_DESCRIPTOR: i64 = 8;

#[test]
fn directory_is_there_by_its_own_or_another_name() {
    let (dir, opener) = (dir("wasi-dir"), opener());
    let (read, create) = (format!("{opener}:read"), format!("{opener}:create"));
    for mode in each_mode() {
        let same = mode.run(&["--json", "--dir", &dir, &read]).expect(0);
        assert_eq!(results(&same, 0), [0, dir.len() as i64, i64::from(b'/')]);
        let mapped = format!("--dir={dir}::data");
        let ran = mode.run(&["--json", &mapped, &read, &create]).expect(0);
        assert_eq!(results(&ran, 0), [0, 4, i64::from(b'd')]);
        assert_eq!(results(&ran, 1), [0, 4, i64::from(b'd')]);
        std::fs::remove_file(format!("{dir}/out")).unwrap();
    }
}

#[test]
fn read_only_directory_stays_as_it_is() {
    let (dir, opener) = (dir("wasi-dir-ro"), opener());
    let (read, create) = (format!("{opener}:read"), format!("{opener}:create"));
    for mode in each_mode() {
        let option = format!("--dir-ro={dir}::/");
        let ran = mode.run(&["--json", &option, &read, &create]).expect(0);
        assert_eq!(results(&ran, 0), [0, 1, i64::from(b'/')]);
        assert_eq!(results(&ran, 1)[0], NOT_PERMITTED);
        assert!(!std::fs::exists(format!("{dir}/out")).unwrap());
    }
}

#[test]
fn directory_may_be_for_one_guest() {
    let (dir, read) = (dir("wasi-dir-one"), format!("{}:read", opener()));
    let option = format!("--dir=2={dir}::d");
    let ran = run(&["--json", &option, &read, &read]).expect(0);
    assert_eq!(results(&ran, 0)[0], NO_SUCH_DESCRIPTOR);
    assert_eq!(results(&ran, 1), [0, 1, i64::from(b'd')]);
}

#[test]
fn bad_directories_are_named() {
    let echo = "echo.wasm";
    bad_usage(
        &["--dir", "no/such", echo],
        &["--dir no/such", "cannot open this directory"],
    );
    bad_usage(&["--dir-ro", "echo.c::/", echo], &["--dir-ro echo.c"]);
    bad_usage(&["--dir", "a::b::c", echo], &["HOST_DIR::GUEST_DIR"]);
    bad_usage(
        &["--dir", ".", "fib.wat:fib(1)"],
        &["no guest imports WASI"],
    );
}

/// The lines of what a guest has printed that start with this.
fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let lines = text.lines();
    lines.filter_map(|line| line.strip_prefix(start)).collect()
}

#[test]
fn variable_without_a_value_is_inherited() {
    for mode in each_mode() {
        // The tests' command has SECRET in its environment.
        let args = [
            "--env=SECRET",
            "--env=NOT_SET_ANYWHERE",
            "--env=A=b=c",
            "--env=EMPTY=",
        ];
        let ran = mode.run_one_by_one(&[&args[..], &["echo.wasm"]].concat());
        let ran = ran.expect(0);
        assert_eq!(
            lines(&ran.stdout, "env: "),
            ["SECRET=of the host", "A=b=c", "EMPTY="]
        );
    }
}

#[test]
fn argv0_is_what_is_given() {
    for mode in each_mode() {
        let guests = ["echo.wasm(x)", "echo.wasm(y)"];
        let options = ["--argv0=all of them", "--argv0=2=second"];
        let ran = mode
            .run_one_by_one(&[&options[..], &guests].concat())
            .expect(0);
        // The two may interleave.
        let mut printed = lines(&ran.stdout, "arg ");
        printed.sort();
        assert_eq!(printed, ["0: all of them", "0: second", "1: x", "1: y"]);
    }
    bad_usage(
        &["--argv0=x", "fib.wat:fib(1)"],
        &["--argv0 x", "no guest imports WASI"],
    );
}
