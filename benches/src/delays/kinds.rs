//! Guests, each of which does one thing without end.

use std::fmt::Write as _;
use wasmtime::{Collector, Config};

/// A kind of code.
pub struct Kind {
    pub name: &'static str,
    pub text: String,
    pub collector: Collector,
    pub is_component: bool,
    /// What the guest does by itself, without a host function.
    pub is_guests_own: bool,
}

impl Kind {
    fn own(name: &'static str, text: impl Into<String>) -> Kind {
        Kind {
            name,
            text: text.into(),
            collector: Collector::Auto,
            is_component: false,
            is_guests_own: true,
        }
    }

    fn with_collector(self, collector: Collector) -> Kind {
        Kind { collector, ..self }
    }

    fn of_the_host(name: &'static str, text: impl Into<String>) -> Kind {
        Kind {
            is_guests_own: false,
            ..Kind::own(name, text)
        }
    }

    pub fn configure(&self, config: &mut Config) {
        config
            .wasm_gc(true)
            .wasm_function_references(true)
            .wasm_exceptions(true)
            .collector(self.collector);
    }
}

pub fn all() -> impl Iterator<Item = Kind> {
    let component = Kind {
        is_component: true,
        ..Kind::own("a string of 16 MiB, transcoded", TRANSCODE)
    };
    [
        Kind::own("straight-line code", straight_line()),
        Kind::own("a loop", looped("", "", "")),
        Kind::own("calls", CALLS),
        Kind::own("tail calls", TAIL_CALLS),
        Kind::own("exceptions", EXCEPTIONS),
        Kind::own(
            "`memory.fill`, 256 MiB",
            looped(
                "(memory 4096)",
                "",
                "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x10000000))",
            ),
        ),
        Kind::own(
            "`memory.copy`, 256 MiB",
            looped(
                "(memory 4096)",
                "",
                "(memory.copy (i32.const 1) (i32.const 0) (i32.const 0xfffffff))",
            ),
        ),
        Kind::own(
            "`table.fill`, 4 million",
            looped(
                "(table 4000000 funcref)",
                "",
                "(table.fill (i32.const 0) (ref.null func) (i32.const 4000000))",
            ),
        ),
        Kind::own(
            "`table.copy`, 4 million",
            looped(
                "(table 4000000 funcref)",
                "",
                "(table.copy (i32.const 1) (i32.const 0) (i32.const 3999999))",
            ),
        ),
        Kind::own(
            "`array.fill`, 56 MiB",
            looped(
                "(type $a (array (mut i64)))",
                "(local $a (ref $a)) (local.set $a (array.new_default $a (i32.const 0x700000)))",
                "(array.fill $a (local.get $a) (i32.const 0) (i64.const 1) (i32.const 0x700000))",
            ),
        ),
        Kind::own("allocation, few live", allocation(100)).with_collector(Collector::Copying),
        Kind::own("collection of 100,000 live, copying", allocation(100_000))
            .with_collector(Collector::Copying),
        Kind::own("collection of 100,000 live, counting", allocation(100_000))
            .with_collector(Collector::DeferredReferenceCounting),
        component,
        Kind::of_the_host(
            "`clock_time_get`",
            wasi(
                r#"(import "wasi_snapshot_preview1" "clock_time_get"
                (func $call (param i32 i64 i32) (result i32)))"#,
                "(drop (call $call (i32.const 1) (i64.const 0) (i32.const 0)))",
            ),
        ),
        Kind::of_the_host(
            "`random_get`, 64 MiB",
            wasi(
                r#"(import "wasi_snapshot_preview1" "random_get"
                (func $call (param i32 i32) (result i32)))"#,
                "(drop (call $call (i32.const 0) (i32.const 0x4000000)))",
            ),
        ),
        Kind::of_the_host(
            "`fd_write`, 64 MiB to /dev/null",
            wasi(
                r#"(import "wasi_snapshot_preview1" "fd_write"
                (func $call (param i32 i32 i32 i32) (result i32)))
               (data (i32.const 0) "\00\00\00\00\00\00\00\04")"#,
                "(drop (call $call (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
            ),
        ),
        Kind::of_the_host(
            "`poll_oneoff`, no wait",
            wasi(
                r#"(import "wasi_snapshot_preview1" "poll_oneoff"
                (func $call (param i32 i32 i32 i32) (result i32)))"#,
                "(drop (call $call (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))",
            ),
        ),
    ]
    .into_iter()
}

/// Does `turn` again and again.
fn looped(definitions: &str, first: &str, turn: &str) -> String {
    format!(
        r#"(module {definitions} (func (export "run") {first} (loop $again {turn} (br $again))))"#
    )
}

fn wasi(definitions: &str, turn: &str) -> String {
    looped(
        &format!(r#"{definitions} (memory (export "memory") 1025)"#),
        "",
        turn,
    )
}

/// A megabyte of code between two checks.
fn straight_line() -> String {
    let mut turn = String::new();
    for i in 0..50_000 {
        // Writing to a string does not fail.
        let _ = write!(
            turn,
            "(local.set $n (i64.mul (i64.add (local.get $n) (i64.const {i})) (i64.const 7)))"
        );
    }
    let first = "(local $n i64)";
    looped(
        "(global $g (mut i64) (i64.const 0))",
        first,
        &format!("{turn}(global.set $g (local.get $n))"),
    )
}

/// Makes garbage, beside a list of `live` objects.
fn allocation(live: u32) -> String {
    looped(
        "(type $node (struct (field (ref null $node)) (field i64)))",
        &format!(
            "(local $list (ref null $node)) (local $i i32)
             (local.set $i (i32.const {live}))
             (loop $next
                (local.set $list (struct.new $node (local.get $list) (i64.const 1)))
                (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
        ),
        "(drop (struct.new $node (local.get $list) (i64.const 2)))",
    )
}

const CALLS: &str = r#"(module
    (func $fib (param $n i32) (result i32)
        (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
            (then (local.get $n))
            (else (i32.add
                (call $fib (i32.sub (local.get $n) (i32.const 1)))
                (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
    (func (export "run") (loop $again (drop (call $fib (i32.const 40))) (br $again))))"#;

const TAIL_CALLS: &str = r#"(module
    (func $odd (param i64) (return_call $even (i64.add (local.get 0) (i64.const 1))))
    (func $even (param i64) (return_call $odd (i64.add (local.get 0) (i64.const 1))))
    (func (export "run") (return_call $even (i64.const 0))))"#;

const EXCEPTIONS: &str = r#"(module
    (tag $t)
    (func $throw (throw $t))
    (func (export "run")
        (loop $again
            (block $caught (try_table (catch $t $caught) (call $throw)))
            (br $again))))"#;

/// Two components, of which one passes the other a string in another encoding.
const TRANSCODE: &str = r#"(component
    (component $callee
        (core module $m
            (memory (export "memory") 1024)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "take") (param i32 i32)))
        (core instance $i (instantiate $m))
        (func (export "take") (param "s" string)
            (canon lift (core func $i "take") (memory (core memory $i "memory"))
                (realloc (core func $i "realloc"))
                string-encoding=utf16)))
    (component $caller
        (import "take" (func $take (param "s" string)))
        (core module $libc (memory (export "memory") 512))
        (core instance $libc (instantiate $libc))
        (core func $take (canon lower (func $take) (memory (core memory $libc "memory"))))
        (core module $m
            (import "" "take" (func $take (param i32 i32)))
            (func (export "run")
                (loop $again
                    (call $take (i32.const 0) (i32.const 0x1000000))
                    (br $again))))
        (core instance $i (instantiate $m (with "" (instance (export "take" (func $take))))))
        (func (export "run") (canon lift (core func $i "run"))))
    (instance $a (instantiate $callee))
    (instance $b (instantiate $caller (with "take" (func $a "take"))))
    (export "run" (func $b "run")))"#;
