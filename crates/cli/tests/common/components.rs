//! Components to run.

use super::file;
use std::fmt::Write;

/// The file of a component that exports `wasi:cli/run`. `code` is the body of its function, which
/// returns 1 for an error, and has 1000 to 2000 of the memory for `data`.
pub fn command(name: &str, data: &str, code: &str) -> String {
    let mut wat = format!("(component $component {IMPORTS} {LIBC}");
    let (mut imports, mut given) = (String::new(), String::new());
    for (name, instance, function, ty) in FUNCTIONS {
        write!(
            wat,
            r#"(core func ${name} (canon lower (func ${instance} "{function}")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))"#
        )
        .unwrap();
        write!(imports, r#"(import "host" "{name}" (func ${name} {ty}))"#).unwrap();
        write!(given, r#"(export "{name}" (func ${name}))"#).unwrap();
    }
    let command = format!(
        r#"(core module $main-module {imports} {HELPERS}
            (data (i32.const 1000) "{data}")
            (func (export "run") (result i32) {code}))
        (core instance $main (instantiate $main-module
            (with "libc" (instance $libc)) (with "host" (instance {given}))))
        (func $run (result (result)) (canon lift (core func $main "run")))
        (instance $run (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#
    );
    file(name, wat + &command)
}

/// The file of a component with these functions of its own: `core` has their code, and `lifted`
/// their types. It imports nothing.
pub fn functions(name: &str, core: &str, lifted: &str) -> String {
    let wat =
        format!("(component (core module $m {core}) (core instance $i (instantiate $m)) {lifted})");
    file(name, wat)
}

/// A component that exports this interface, with functions of no type that any has.
pub fn exporting(name: &str, interface: &str) -> String {
    let wat = format!(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $x (export "handle" (func $f)) (export "run" (func $f)))
            (export "{interface}" (instance $x)))"#
    );
    file(name, wat)
}

/// `spin` never returns, and `answer` does.
pub fn spin_or_answer(name: &str) -> String {
    functions(
        name,
        r#"(func (export "spin") (loop br 0))
        (func (export "answer") (result i32) (i32.const 42))"#,
        r#"(func (export "spin") (canon lift (core func $i "spin")))
        (func (export "answer") (result u32) (canon lift (core func $i "answer")))"#,
    )
}

const IMPORTS: &str = r#"
    (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
    (alias export $error "error" (type $error))
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (alias outer $component $error (type $error'))
        (export "error" (type $error (eq $error')))
        (type $stream-error' (variant (case "last-operation-failed" (own $error)) (case "closed")))
        (export "stream-error" (type $stream-error (eq $stream-error')))
        (export "input-stream" (type $input (sub resource)))
        (export "output-stream" (type $output (sub resource)))
        (export "[method]input-stream.blocking-read" (func
            (param "self" (borrow $input)) (param "len" u64)
            (result (result (list u8) (error $stream-error)))))
        (export "[method]output-stream.blocking-write-and-flush" (func
            (param "self" (borrow $output)) (param "contents" (list u8))
            (result (result (error $stream-error)))))))
    (alias export $streams "input-stream" (type $input))
    (alias export $streams "output-stream" (type $output))
    (import "wasi:cli/stdin@0.2.0" (instance $stdin
        (alias outer $component $input (type $input'))
        (export "input-stream" (type $input (eq $input')))
        (export "get-stdin" (func (result (own $input))))))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer $component $output (type $output'))
        (export "output-stream" (type $output (eq $output')))
        (export "get-stdout" (func (result (own $output))))))
    (import "wasi:cli/exit@0.2.0" (instance $exit
        (export "exit" (func (param "status" (result))))))
    (import "wasi:cli/environment@0.2.0" (instance $environment
        (export "get-environment" (func (result (list (tuple string string)))))
        (export "get-arguments" (func (result (list string))))))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer $component $pollable (type $pollable'))
        (export "pollable" (type $pollable (eq $pollable')))
        (export "now" (func (result u64)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
    (import "wasi:random/random@0.2.0" (instance $random
        (export "get-random-u64" (func (result u64)))))
    (import "wasi:filesystem/types@0.2.0" (instance $files
        (export "descriptor" (type (sub resource)))))
    (alias export $files "descriptor" (type $descriptor))
    (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
        (alias outer $component $descriptor (type $descriptor'))
        (export "descriptor" (type $descriptor (eq $descriptor')))
        (export "get-directories" (func
            (result (list (tuple (own $descriptor) string)))))))"#;

/// The imported functions: their names in the code, and their core types.
const FUNCTIONS: [(&str, &str, &str, &str); 11] = [
    ("block", "poll", "[method]pollable.block", "(param i32)"),
    (
        "read",
        "streams",
        "[method]input-stream.blocking-read",
        "(param i32 i64 i32)",
    ),
    (
        "write",
        "streams",
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    ("stdin", "stdin", "get-stdin", "(result i32)"),
    ("stdout", "stdout", "get-stdout", "(result i32)"),
    ("exit", "exit", "exit", "(param i32)"),
    ("env", "environment", "get-environment", "(param i32)"),
    ("args", "environment", "get-arguments", "(param i32)"),
    (
        "timer",
        "clock",
        "subscribe-duration",
        "(param i64) (result i32)",
    ),
    ("random", "random", "get-random-u64", "(result i64)"),
    ("dirs", "preopens", "get-directories", "(param i32)"),
];

const LIBC: &str = r#"
    (core module $libc-module
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 65536))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (global.get $next))
            (global.set $next (i32.add (local.get $at)
                (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
            (local.get $at)))
    (core instance $libc (instantiate $libc-module))"#;

const HELPERS: &str = r#"
    (memory (import "libc" "memory") 2)
    (global $out (mut i32) (i32.const -1))
    (func $print (param $at i32) (param $len i32)
        (if (i32.eq (global.get $out) (i32.const -1))
            (then (global.set $out (call $stdout))))
        (call $write (global.get $out) (local.get $at) (local.get $len) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then unreachable)))
    ;; Prints the string at this address, and ends the line.
    (func $print-line (param $at i32)
        (call $print (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))
        (i32.store8 (i32.const 100) (i32.const 10))
        (call $print (i32.const 100) (i32.const 1)))
    ;; Prints a string of each entry of the list that is at 16.
    (func $print-list (param $size i32) (param $string i32)
        (local $i i32)
        (block $end
            (loop $next
                (br_if $end (i32.ge_u (local.get $i) (i32.load (i32.const 20))))
                (call $print-line (i32.add (local.get $string)
                    (i32.add (i32.load (i32.const 16))
                        (i32.mul (local.get $i) (local.get $size)))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next))))
    ;; Prints 16 hexadecimal digits.
    (func $print-hex (param $n i64)
        (local $i i32) (local $digit i32)
        (loop $next
            (local.set $digit (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15))))
            (i32.store8 (i32.sub (i32.const 215) (local.get $i)) (i32.add (local.get $digit)
                (select (i32.const 48) (i32.const 87)
                    (i32.lt_u (local.get $digit) (i32.const 10)))))
            (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 16))))
        (i64.store (i32.const 224) (i64.const 0x10000000c8))
        (call $print-line (i32.const 224)))
    (func $sleep (param $nanoseconds i64)
        (call $block (call $timer (local.get $nanoseconds))))"#;

/// A command that sleeps for these milliseconds, and prints a line.
pub fn sleeper(name: &str, milliseconds: u64) -> String {
    let code = format!(
        "(call $sleep (i64.const {}))
        (call $print (i32.const 1000) (i32.const 6)) (i32.const 0)",
        milliseconds * 1_000_000
    );
    command(name, "awake\\n", &code)
}

/// Prints its arguments, environment and the names of its directories.
pub fn describer(name: &str) -> String {
    command(
        name,
        "",
        "(call $args (i32.const 16)) (call $print-list (i32.const 8) (i32.const 0))
        (call $env (i32.const 16)) (call $print-list (i32.const 16) (i32.const 0))
        (call $print-list (i32.const 16) (i32.const 8))
        (call $dirs (i32.const 16)) (call $print-list (i32.const 12) (i32.const 4))
        (i32.const 0)",
    )
}
