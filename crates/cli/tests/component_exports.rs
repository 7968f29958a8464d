//! The functions of components take arguments in WAVE, and their results are in WAVE.

mod common;

use common::components::functions;
use common::{bad_usage, each_mode, file, rows, run};

/// `length(s: string) -> u32`, `sum`, `flip`, `pair`, `or-one` and `nothing`.
fn component() -> String {
    functions(
        "component-exports.wat",
        r#"(memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "length") (param i32 i32) (result i32) (local.get 1))
        (func (export "sum") (param i32 i32) (result i32)
            (i32.add (local.get 0) (local.get 1)))
        (func (export "flip") (param i32) (result i32) (i32.eqz (local.get 0)))
        (func (export "pair") (param i32 f64) (result i32)
            (i32.store (i32.const 0) (local.get 0))
            (f64.store (i32.const 8) (local.get 1))
            (i32.const 0))
        (func (export "or-one") (param i32 i32) (result i32)
            (select (local.get 1) (i32.const 1) (local.get 0)))
        (func (export "nothing"))"#,
        r#"(func (export "length") (param "s" string) (result u32)
            (canon lift (core func $i "length")
                (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (type $point' (record (field "x" s32) (field "y" s32)))
        (export $point "point" (type $point'))
        (func (export "sum") (param "at" $point) (result s32) (canon lift (core func $i "sum")))
        (type $switch' (enum "off" "on"))
        (export $switch "switch" (type $switch'))
        (func (export "flip") (param "s" $switch) (result $switch)
            (canon lift (core func $i "flip")))
        (func (export "pair") (param "n" u8) (param "f" f64) (result (tuple u8 f64))
            (canon lift (core func $i "pair") (memory (core memory $i "memory"))))
        (func (export "or-one") (param "n" (option u32)) (result u32)
            (canon lift (core func $i "or-one")))
        (func (export "nothing") (canon lift (core func $i "nothing")))"#,
    )
}

#[test]
fn arguments_and_results_are_in_wave() {
    let guest = component();
    let calls = [
        (r#"length("a, b) and \"c\"")"#, "13"),
        ("sum({x: 40, y: 2})", "42"),
        ("flip(off)", r#""on""#),
        ("pair(7, -0.5)", r#""(7, -0.5)""#),
        ("or-one()", "1"),
        ("or-one(some(5))", "5"),
    ];
    let guests: Vec<String> = calls
        .iter()
        .map(|(call, _)| format!("{guest}:{call}"))
        .collect();
    let guests: Vec<&str> = guests.iter().map(String::as_str).collect();
    for mode in each_mode() {
        let json = mode
            .run(&[&["--json"], &guests[..]].concat())
            .expect(0)
            .json();
        for (row, (call, result)) in rows(&json).iter().zip(&calls) {
            assert_eq!(row["results"][0].to_string(), *result, "{call}");
        }
    }
    let ran = run(&[&format!("{guest}:pair(1, 2)"), &format!("{guest}:nothing")]).expect(0);
    assert!(ran.stdout.contains("(1, 2)"), "{}", ran.stdout);
}

#[test]
fn arguments_may_follow_the_guest() {
    let guest = component();
    let json = run(&["--json", &format!("{guest}:sum"), "{x: 1, y: 2}"])
        .expect(0)
        .json();
    assert_eq!(rows(&json)[0]["results"][0], 3);
    let json = run(&["--json", &format!("{guest}:pair"), "--", "1", "-2"])
        .expect(0)
        .json();
    assert_eq!(rows(&json)[0]["results"][0], "(1, -2)");
    let pair = format!("{guest}:pair");
    bad_usage(
        &[&pair, "1, 2"],
        &["each argument after it is one value", "`1, 2` makes 2"],
    );
}

#[test]
fn wrong_arguments_are_named_with_what_would_be_right() {
    let guest = component();
    let bad = |call: &str, parts: &[&str]| {
        let guest = format!("{guest}:{call}");
        bad_usage(&[&guest], &[&[&*guest], parts].concat());
    };
    bad(
        "length(ada)",
        &[
            "argument 1 of length(s: string) -> u32 is `ada`, which is not of type string",
            r#"length("text")`"#,
        ],
    );
    bad(
        "pair(256, 1)",
        &["argument 1", "`256`, which is not of type u8"],
    );
    bad(
        "sum({x: 1})",
        &[
            "which is not of type record",
            "missing field",
            "{x: 1, y: 1}",
        ],
    );
    bad("sum", &["passes 0 arguments to sum(", "takes 1"]);
    bad("pair(1, 2, 3)", &["passes 3 arguments", "takes 2"]);
    bad("length([1 2])", &["not in WAVE", "unexpected token at `2`"]);
    bad(r#"length("a)"#, &["not in WAVE"]);
    bad(
        "length(Ada)",
        &["not in WAVE", r#"as in `"#, r#"length("text")`"#],
    );
    bad(
        "flip(up)",
        &["`up`, which is not of type enum { off, on }", "flip(off)"],
    );
}

/// Exports `ping` in an interface.
fn with_interface(name: &str) -> String {
    file(
        name,
        r#"(component
            (core module $m (func (export "ping") (param i32) (result i32) (local.get 0)))
            (core instance $i (instantiate $m))
            (func $ping (param "n" u32) (result u32) (canon lift (core func $i "ping")))
            (instance $api (export "ping" (func $ping)))
            (export "test:net/api@1.2.0" (instance $api)))"#,
    )
}

#[test]
fn functions_of_interfaces_have_the_names_of_wasmtime() {
    let guest = with_interface("component-interface.wat");
    for mode in each_mode() {
        for name in ["test:net/api.ping@1.2.0", "test:net/api.ping", "ping"] {
            let json = mode
                .run(&["--json", &format!("{guest}:{name}(3)")])
                .expect(0)
                .json();
            assert_eq!(rows(&json)[0]["results"][0], 3);
        }
    }
    // It is the only one.
    run(&[&format!("{guest}(3)")]).expect(0);
}

#[test]
fn unknown_exports_are_named_with_those_that_there_are() {
    let guest = component();
    bad_usage(
        &[&format!("{guest}:lenght(1)")],
        &[
            "no function `lenght`",
            "did you mean `length`?",
            "pair(n: u8, f: f64) -> tuple<u8, f64>",
        ],
    );
    bad_usage(
        &[&guest],
        &["not clear which of its functions", "nothing()"],
    );
    let guest = with_interface("component-interface-2.wat");
    bad_usage(
        &[&format!("{guest}:test:net/api@1.2.0(1)")],
        &[
            "is an interface, not a function",
            "test:net/api.ping@1.2.0(n: u32) -> u32",
        ],
    );
}
