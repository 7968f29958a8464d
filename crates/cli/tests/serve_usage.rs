//! What cannot be served, or asked for, is an error that says what can.

mod common;

use common::components::exporting;
use common::file;
use common::server::command;

/// `preempt serve ARGS` must fail as bad usage, and say all of `parts`.
#[track_caller]
fn bad_usage(args: &[&str], parts: &[&str]) {
    let output = command(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    for part in parts {
        assert!(
            stderr.contains(part),
            "{args:?} does not say `{part}` but:\n{stderr}"
        );
    }
}

#[test]
fn only_components_that_answer_requests_are_served() {
    bad_usage(
        &["fib.wat"],
        &["fib.wat", "it is a module", "`wasi:http/proxy`"],
    );
    bad_usage(&["missing.wasm"], &["missing.wasm"]);
    let empty = file("serve-empty.wat", "(component)");
    bad_usage(
        &[&empty],
        &["`wasi:http/incoming-handler`", "it exports nothing"],
    );
    let command = exporting("serve-command.wat", "wasi:cli/run@0.2.0");
    bad_usage(
        &[&command],
        &["`wasi:http/incoming-handler`", "wasi:cli/run@0.2.0"],
    );
    let newer = exporting("serve-newer.wat", "wasi:http/handler@0.3.0");
    bad_usage(
        &[&newer],
        &["`wasi:http/handler@0.3.0`", "`wasmtime serve`"],
    );
    let wat = r#"(component (import "a:b/c@1.0.0" (instance)))"#;
    let other = file("serve-imports.wat", wat);
    bad_usage(&[&other], &["a:b/c@1.0.0", "`wasi:http/proxy`"]);
}

#[test]
fn handler_of_another_type_is_not_served() {
    let handler = exporting("serve-type.wat", "wasi:http/incoming-handler@0.2.0");
    bad_usage(&[&handler], &["`wasi:http/incoming-handler`"]);
}

#[test]
fn bad_values_are_named_with_what_works() {
    let serve = |option: &str, parts: &[&str]| {
        let parts = [&[option.split('=').next().unwrap()], parts].concat();
        bad_usage(&[option, "serve.wat"], &parts);
    };
    serve("--addr=nowhere", &["nowhere"]);
    serve("--slice=0", &["would let no guest run", "10ms"]);
    serve("--timeout=0s", &["30s or 50ms"]);
    serve("--cpu-limit=soon", &["30s or 50ms"]);
    serve("--fuel-limit=0", &["0"]);
    serve("--memory-limit=none", &["512M"]);
    serve("--threads=0", &["0"]);
    serve("--max-requests=0", &["0"]);
    serve("--tenant=path", &["header:x-tenant"]);
    serve("--weight=a=2", &["--tenant"]);
    bad_usage(&["--tenant=host", "--weight=a", "serve.wat"], &["TENANT=N"]);
    serve("--dir=missing-dir", &["cannot open this directory"]);
    serve("--env==x", &["NAME=VAL"]);
    serve("--trace=fib.wat", &["cannot make this directory"]);
}

#[test]
fn address_that_is_taken_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    bad_usage(
        &["--addr", &address, "serve.wat"],
        &[&address, "cannot listen"],
    );
}
