//! Names that a module or a command line has are shown, and do nothing to a terminal.

mod common;

use common::{bad_usage, file, run};

/// Clears the screen, rings, and begins a line.
const HOSTILE: &str = r"\1b[2J\07\0atrapped: no";
const SHOWN: &str = r"\u{1b}[2J\u{7}\ntrapped: no";

#[track_caller]
fn acts_on_nothing(text: &str) {
    let acts = |c: &char| c.is_control() && *c != '\n';
    assert!(!text.contains(|c| acts(&c)), "{text:?}");
    assert!(!text.contains("\ntrapped: no"), "{text}");
}

#[test]
fn hostile_names_of_exports_and_imports_are_escaped() {
    let export = file(
        "hostile-export.wat",
        format!(r#"(module (func (export "{HOSTILE}")) (func (export "b")))"#),
    );
    let import = file(
        "hostile-import.wat",
        format!(r#"(module (import "{HOSTILE}" "x" (func)) (func (export "b")))"#),
    );
    for args in [&[&*export][..], &[&format!("{export}:c")], &[&import]] {
        bad_usage(args, &[SHOWN]);
        acts_on_nothing(&run(args).stderr);
    }
}

#[test]
fn hostile_names_in_a_backtrace_are_escaped() {
    let guest = file(
        "hostile-function.wat",
        format!(
            r#"(module (@name "{HOSTILE}")
                (func $inner (@name "{HOSTILE}") unreachable)
                (func (export "run") (call $inner)))"#
        ),
    );
    let ran = run(&[&guest]).expect(134);
    assert!(
        ran.stdout.contains(&format!("at {SHOWN}!{SHOWN} ")),
        "{}",
        ran.stdout
    );
    acts_on_nothing(&ran.stdout);
}

#[test]
fn hostile_arguments_are_escaped() {
    for args in [
        &["no\x1b[2Jfile.wat"][..],
        &["fib.wat:no\x1b[2Jexport"],
        &["--weight=\x1b[2J=1", "--policy=fair", "spin.wat"],
        &["--slice=\x1b[2J", "spin.wat"],
    ] {
        bad_usage(args, &[r"\u{1b}[2J"]);
        acts_on_nothing(&run(args).stderr);
    }
    let ran = run(&[
        "primes.wasm(100,\x1b[2Jlabel)",
        "--interleaving",
        "fib.wat:fib(5)",
    ]);
    let report = ran.stdout.rsplit_once("label: ").unwrap().1;
    let table = report.split_once('\n').unwrap().1;
    assert!(table.contains(r"\u{1b}[2Jlabel"), "{table}");
    acts_on_nothing(table);
}

#[test]
fn export_with_a_parenthesis_runs_as_it_is_suggested() {
    let guest = file(
        "parenthesis.wat",
        r#"(module
            (func (export "min(int, int)") (param i32 i32) (result i32) (local.get 1))
            (func (export "b")))"#,
    );
    bad_usage(
        &[&format!("{guest}:min")],
        &[r"min\(int, int)(i32, i32) -> i32"],
    );
    let ran = run(&["--json", &format!(r"{guest}:min\(int, int)(3, 4)")]).expect(0);
    assert_eq!(ran.json()["threads"][0]["results"][0], 4);
}
