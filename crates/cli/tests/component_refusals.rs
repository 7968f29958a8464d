//! Components that cannot be run are refused, with what would work.

mod common;

use common::components::exporting;
use common::{bad_usage, file};

#[test]
fn other_worlds_are_named_with_what_runs_them() {
    let server = exporting("component-server.wat", "wasi:http/incoming-handler@0.2.0");
    bad_usage(
        &[&server],
        &["`wasi:http/incoming-handler@0.2.0`", "`preempt serve"],
    );
    let newer = exporting("component-newer.wat", "wasi:cli/run@0.3.0");
    bad_usage(
        &[&newer],
        &[
            "`wasi:cli/run@0.3.0`",
            "`wasi:cli/run@0.2.x`",
            "wasmtime run",
        ],
    );
    let wat = r#"(component (type (func async (param "n" u32))))"#;
    let asynchronous = file("component-async.wat", wat);
    bad_usage(
        &[&asynchronous],
        &["asynchronous functions", "`wasmtime run` may"],
    );
    let empty = file("component-empty.wat", "(component)");
    bad_usage(&[&empty], &[&empty, "it exports no function"]);
}

/// A component that imports this, and whose code is invalid.
fn importing(name: &str, import: &str) -> String {
    let wat = format!(
        r#"(component {import}
            (core module $m (func (export "f") (result i32)))
            (core instance $i (instantiate $m))
            (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
    );
    file(name, wat)
}

#[test]
fn imports_that_are_missing_are_named_before_anything_is_compiled() {
    let other = importing(
        "component-imports.wat",
        r#"(import "a:b/c@1.0.0" (instance)) (import "log" (func))"#,
    );
    bad_usage(
        &[&other],
        &[
            "imports a:b/c@1.0.0, log, which this command does not provide",
            "wasi:cli/command",
        ],
    );
    let wrong = importing(
        "component-wrong.wat",
        r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func))))"#,
    );
    bad_usage(&[&wrong], &["wasi:random/random@0.2.0", "get-random-u64"]);
    let invalid = importing("component-invalid.wat", "");
    bad_usage(
        &[&invalid],
        &["not a valid WebAssembly component", "type mismatch"],
    );
}

#[test]
fn what_the_limits_cannot_cover_is_refused() {
    let shared = file(
        "component-shared.wat",
        "(component (core module (memory 1 65536 shared)))",
    );
    bad_usage(&[&shared], &[&shared, "shared memory"]);
}

#[test]
fn settings_that_no_component_sees_are_refused() {
    let guest = common::components::spin_or_answer("component-no-wasi.wat") + ":answer";
    bad_usage(
        &["--env=A=b", &guest],
        &["--env A=b", "no guest imports WASI"],
    );
    bad_usage(
        &["--inherit-network", "primes.wasm"],
        &["--inherit-network", "no guest"],
    );
    bad_usage(
        &["--allow-ip-name-lookup=1", "primes.wasm"],
        &["--allow-ip-name-lookup=1", "no component"],
    );
    bad_usage(
        &["--allow-http", "primes.wasm"],
        &["--allow-http", "no guest"],
    );
    bad_usage(
        &["--inherit-network=3", "primes.wasm"],
        &["there is no guest `3`"],
    );
}
