//! Components send HTTP requests only if they may.

mod common;

use common::server::Server;
use common::{each_mode, file, read, rows};

/// `fetch` sends a request to an address, and returns the status that it gets; 0 if it may send
/// none, and 1 if there was another error.
fn component() -> String {
    let serve = read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/serve.wat"
    ));
    // All that it imports, from `wasi:http` and what that needs.
    let imports = &serve[..serve.find("(core module $memory").unwrap()];
    let lowered = [
        ("fields", "types", "[constructor]fields", "(result i32)"),
        (
            "request",
            "types",
            "[constructor]outgoing-request",
            "(param i32) (result i32)",
        ),
        (
            "set-scheme",
            "types",
            "[method]outgoing-request.set-scheme",
            "(param i32 i32 i32 i32 i32) (result i32)",
        ),
        (
            "set-authority",
            "types",
            "[method]outgoing-request.set-authority",
            "(param i32 i32 i32 i32) (result i32)",
        ),
        (
            "set-path",
            "types",
            "[method]outgoing-request.set-path-with-query",
            "(param i32 i32 i32 i32) (result i32)",
        ),
        ("send", "outgoing", "handle", "(param i32 i32 i32 i32)"),
        (
            "subscribe",
            "types",
            "[method]future-incoming-response.subscribe",
            "(param i32) (result i32)",
        ),
        ("block", "poll", "[method]pollable.block", "(param i32)"),
        (
            "get",
            "types",
            "[method]future-incoming-response.get",
            "(param i32 i32)",
        ),
        (
            "status",
            "types",
            "[method]incoming-response.status",
            "(param i32) (result i32)",
        ),
    ];
    let mut wat = imports.to_string();
    wat += r#"(core module $memory
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $memory (instantiate $memory))"#;
    let (mut imported, mut given) = (String::new(), String::new());
    for (name, instance, function, ty) in lowered {
        wat += &format!(
            r#"(core func ${name} (canon lower (func ${instance} "{function}")
                (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))"#
        );
        imported += &format!(r#"(import "host" "{name}" (func ${name} {ty}))"#);
        given += &format!(r#"(export "{name}" (func ${name}))"#);
    }
    wat += &format!(
        r#"(core module $main {imported}
            (import "host" "memory" (memory 1))
            (data (i32.const 16) "/")
            (func (export "fetch") (param $at i32) (param $length i32) (result i32)
                (local $request i32) (local $future i32)
                (local.set $request (call $request (call $fields)))
                (drop (call $set-scheme (local.get $request)
                    (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
                (drop (call $set-authority (local.get $request)
                    (i32.const 1) (local.get $at) (local.get $length)))
                (drop (call $set-path (local.get $request)
                    (i32.const 1) (i32.const 16) (i32.const 1)))
                (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 64))
                (if (i32.load8_u (i32.const 64)) (then (return (i32.const 1))))
                (local.set $future (i32.load (i32.const 72)))
                (call $block (call $subscribe (local.get $future)))
                (call $get (local.get $future) (i32.const 64))
                (if (i32.load8_u (i32.const 80))
                    ;; HTTP-request-denied is the fifteenth.
                    (then (return (i32.ne (i32.load8_u (i32.const 88)) (i32.const 15)))))
                (call $status (i32.load (i32.const 88)))))
        (core instance $main (instantiate $main (with "host" (instance
            (export "memory" (memory $memory "memory")) {given}))))
        (func (export "fetch") (param "authority" string) (result u32)
            (canon lift (core func $main "fetch")
                (memory (core memory $memory "memory"))
                (realloc (core func $memory "realloc")))))"#
    );
    file("component-http.wat", wat)
}

#[test]
fn component_sends_requests_if_it_may_and_others_run_meanwhile() {
    let component = component();
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        let fetch = format!("{component}:fetch(\"{}\")", server.address());
        let nowhere = format!("{component}:fetch(\"127.0.0.1:1\")");
        let guests = [&*fetch, &fetch, &nowhere, "spin.wat"];
        let options = [
            "--json",
            "--allow-http=2",
            "--allow-http=3",
            "--until=1",
            "--until=2",
            "--until=3",
        ];
        let json = mode.run(&[&options[..], &guests].concat()).expect(0).json();
        let results: Vec<_> = rows(&json)[..3]
            .iter()
            .map(|row| row["results"][0].as_u64())
            .collect();
        assert_eq!(results, [Some(0), Some(200), Some(1)], "{json}");
        assert!(server.stop().log.contains("Answered 1 request: 1 with 200"));
    }
}
