//! What is wrong with a guest's exports, imports and arguments is found before anything is
//! compiled: here before the code is found to be invalid.

mod common;

use common::{bad_usage, file};

/// A module that does not compile, with these fields.
fn invalid(name: &str, fields: &str) -> String {
    let wat = format!(r#"(module {fields} (func (export "bad") (result i32)))"#);
    file(name, wat)
}

#[test]
fn code_is_compiled_at_last() {
    let guest = invalid("before-code.wat", "");
    bad_usage(&[&guest], &[&guest, "type mismatch"]);
}

#[test]
fn exports_are_checked_first() {
    let memory = r#"(memory (export "m") 1)"#;
    let guest = invalid("before-exports.wat", memory);
    let wrong = format!("{guest}:badd");
    bad_usage(&[&wrong], &["no function `badd`", "did you mean `bad`?"]);
    let memory = format!("{guest}:m");
    bad_usage(&[&memory], &["`m` is a memory, not a function"]);
}

#[test]
fn imports_are_checked_first() {
    let guest = invalid("before-imports.wat", r#"(import "env" "f" (func))"#);
    bad_usage(&[&guest], &[&guest, "it imports env::f"]);
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))"#;
    let guest = invalid("before-types.wat", import);
    bad_usage(&[&guest], &["proc_exit", "incompatible import type"]);
}

#[test]
fn arguments_are_checked_first() {
    let function = r#"(func (export "f") (param i32 f64))"#;
    let guest = invalid("before-arguments.wat", function);
    let one = format!("{guest}:f(1)");
    bad_usage(
        &[&one],
        &["passes 1 argument to f(i32, f64), which takes 2"],
    );
    let other = format!("{guest}:f(1, x)");
    bad_usage(&[&other], &["argument 2 of f(i32, f64) is `x`"]);
}

#[test]
fn all_guests_are_checked_first() {
    let first = invalid("before-others.wat", "");
    bad_usage(&[&first, "fib.wat:fob(1)"], &["no function `fob`"]);
    bad_usage(&[&first, "fob.wat"], &["cannot read fob.wat"]);
}

#[test]
fn components_are_checked_first() {
    let guest = file(
        "before-component.wat",
        r#"(component
            (core module $m (func (export "f") (param i32) (result i32)))
            (core instance $i (instantiate $m))
            (func (export "f") (param "n" u32) (result u32) (canon lift (core func $i "f"))))"#,
    );
    bad_usage(&[&format!("{guest}:f(1)")], &["type mismatch"]);
    let wrong = format!("{guest}:g(1)");
    bad_usage(&[&wrong], &["no function `g`", "f(n: u32) -> u32"]);
    let wrong = format!("{guest}:f(x)");
    bad_usage(&[&wrong], &["argument 1 of f(n: u32) -> u32 is `x`"]);
}
