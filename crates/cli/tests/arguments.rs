//! A single guest's arguments may follow its name.

mod common;

use common::{bad_usage, file, out, run};

#[test]
fn what_names_no_file_is_an_argument() {
    let ran = run(&["echo.wasm", "a", "b c", "."]).expect(0);
    let said = "arg 0: echo.wasm\narg 1: a\narg 2: b c\narg 3: .\n";
    assert!(ran.stdout.starts_with(said), "{}", ran.stdout);
    let ran = run(&["--json", "fib.wat:fib", "20"]).expect(0);
    let thread = &ran.json()["threads"][0];
    assert_eq!(thread["results"][0], 6765);
    assert_eq!(thread["guest"], "fib.wat:fib");
}

#[test]
fn arguments_may_be_anything_after_two_dashes() {
    let ran = run(&["echo.wasm", "--", "-v", "--json", "fib.wat", "--"]).expect(0);
    let said = "arg 0: echo.wasm\narg 1: -v\narg 2: --json\narg 3: fib.wat\narg 4: --\n";
    assert!(ran.stdout.starts_with(said), "{}", ran.stdout);
    let ran = run(&["--json", "numbers.wat:i32", "--", "-1"]);
    assert_eq!(ran.expect(0).json()["threads"][0]["results"][0], -1);
}

#[test]
fn options_may_stand_between_a_guest_and_its_arguments() {
    let ran = run(&["fib.wat:fib", "--json", "20"]).expect(0);
    assert_eq!(ran.json()["threads"][0]["results"][0], 6765);
}

#[test]
fn files_are_guests() {
    let ran = run(&["--json", "fib.wat:fib(5)", "fib.wat:fib(6)"]).expect(0);
    assert_eq!(ran.json()["threads"].as_array().unwrap().len(), 2);
    bad_usage(&["fib.wat:fib(5)", "fob.wat"], &["cannot read fob.wat"]);
    bad_usage(&["spin.wat", "fob.wasm:run"], &["cannot read fob.wasm"]);
    bad_usage(&["fib.wat:fib(5)", "nothing"], &["cannot read nothing"]);
}

#[test]
fn file_that_is_no_module_may_be_meant_as_an_argument() {
    let text = file("data.txt", "no module");
    let instead = format!("`echo.wasm -- {text}`");
    bad_usage(&["echo.wasm", &text], &[&text, &instead]);
}

#[test]
fn what_is_neither_clearly_is_an_error() {
    let instead = "`echo.wasm -- a fib.wat`";
    for args in [["echo.wasm", "a", "fib.wat"], ["echo.wasm", "fib.wat", "a"]] {
        bad_usage(
            &args,
            &["`fib.wat` is a guest", "no file `a`", "`echo.wasm -- "],
        );
    }
    bad_usage(&["echo.wasm", "a", "fib.wat"], &[instead]);
    bad_usage(
        &["echo.wasm", "fib.wat", "--", "a"],
        &["-- a: it is not clear which guest", "FILE(ARG,...)"],
    );
    bad_usage(
        &["echo.wasm(a)", "--", "b"],
        &["-- b: guest `echo.wasm(a)` has arguments in parentheses already"],
    );
    let missing = out("missing");
    bad_usage(&["--", &missing], &["GUEST"]);
}

#[test]
fn arguments_that_fit_no_function_are_an_error() {
    bad_usage(
        &["fib.wat:fib", "x"],
        &["argument 1 of fib(i32) -> i32 is `x`"],
    );
    bad_usage(
        &["fib.wat:fib", "1", "2"],
        &["passes 2 arguments", "takes 1"],
    );
    bad_usage(&["spin.wat", "1"], &["passes 1 argument"]);
}
