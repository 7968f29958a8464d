//! Components that call WASI 0.2, in text.

use std::fmt::Write as _;

/// What a component imports. Versions of the same semver track match.
const IMPORTS: &str = r#"
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $pollable)) (result bool)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer $component $error-type (type $error'))
    (export "error" (type $error (eq $error')))
    (alias outer $component $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (type $stream-error'
      (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "input-stream" (type $input (sub resource)))
    (export "output-stream" (type $output (sub resource)))
    (type $done (func (param "self" (borrow $output)) (result (result (error $stream-error)))))
    (type $read (func (param "self" (borrow $input)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]input-stream.read" (func (type $read)))
    (export "[method]input-stream.blocking-read" (func (type $read)))
    (export "[method]input-stream.blocking-skip" (func
      (param "self" (borrow $input)) (param "len" u64)
      (result (result u64 (error $stream-error)))))
    (export "[method]input-stream.subscribe" (func
      (param "self" (borrow $input)) (result (own $pollable))))
    (type $write (func (param "self" (borrow $output)) (param "contents" (list u8))
      (result (result (error $stream-error)))))
    (export "[method]output-stream.write" (func (type $write)))
    (export "[method]output-stream.blocking-write-and-flush" (func (type $write)))
    (export "[method]output-stream.blocking-write-zeroes-and-flush" (func
      (param "self" (borrow $output)) (param "len" u64)
      (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-flush" (func (type $done)))
    (export "[method]output-stream.subscribe" (func
      (param "self" (borrow $output)) (result (own $pollable))))
    (export "[method]output-stream.blocking-splice" (func
      (param "self" (borrow $output)) (param "src" (borrow $input)) (param "len" u64)
      (result (result u64 (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))

  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer $component $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer $component $input (type $input'))
    (export "input-stream" (type $input (eq $input')))
    (export "get-stdin" (func (result (own $input))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer $component $output (type $output'))
    (export "output-stream" (type $output (eq $output')))
    (export "get-stdout" (func (result (own $output))))))

  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $error-code' (enum
      "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state"
      "new-socket-limit" "address-not-bindable" "address-in-use" "remote-unreachable"
      "connection-refused" "connection-reset" "connection-aborted" "datagram-too-large"
      "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $error-code')))
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family')))
    (type $ipv4-address' (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4-address (eq $ipv4-address')))
    (type $ipv6-address' (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6-address (eq $ipv6-address')))
    (type $ipv4' (record (field "port" u16) (field "address" $ipv4-address)))
    (export "ipv4-socket-address" (type $ipv4 (eq $ipv4')))
    (type $ipv6' (record (field "port" u16) (field "flow-info" u32)
      (field "address" $ipv6-address) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $ipv6 (eq $ipv6')))
    (type $address' (variant (case "ipv4" $ipv4) (case "ipv6" $ipv6)))
    (export "ip-socket-address" (type (eq $address')))))
  (alias export $network "network" (type $network-type))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (alias export $network "ip-socket-address" (type $address))

  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (alias outer $component $network-type (type $network'))
    (export "network" (type $network (eq $network')))
    (export "instance-network" (func (result (own $network))))))

  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (alias outer $component $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (alias outer $component $input (type $input'))
    (export "input-stream" (type $input (eq $input')))
    (alias outer $component $output (type $output'))
    (export "output-stream" (type $output (eq $output')))
    (alias outer $component $network-type (type $network'))
    (export "network" (type $network (eq $network')))
    (alias outer $component $error-code (type $error-code'))
    (export "error-code" (type $error-code (eq $error-code')))
    (alias outer $component $address (type $address'))
    (export "ip-socket-address" (type $address (eq $address')))
    (export "tcp-socket" (type $socket (sub resource)))
    (type $step (func (param "self" (borrow $socket)) (result (result (error $error-code)))))
    (export "[method]tcp-socket.start-bind" (func
      (param "self" (borrow $socket)) (param "network" (borrow $network))
      (param "local-address" $address) (result (result (error $error-code)))))
    (export "[method]tcp-socket.finish-bind" (func (type $step)))
    (export "[method]tcp-socket.start-listen" (func (type $step)))
    (export "[method]tcp-socket.finish-listen" (func (type $step)))
    (export "[method]tcp-socket.start-connect" (func
      (param "self" (borrow $socket)) (param "network" (borrow $network))
      (param "remote-address" $address) (result (result (error $error-code)))))
    (export "[method]tcp-socket.finish-connect" (func
      (param "self" (borrow $socket))
      (result (result (tuple (own $input) (own $output)) (error $error-code)))))
    (export "[method]tcp-socket.accept" (func
      (param "self" (borrow $socket))
      (result (result
        (tuple (own $socket) (own $input) (own $output)) (error $error-code)))))
    (export "[method]tcp-socket.local-address" (func
      (param "self" (borrow $socket)) (result (result $address (error $error-code)))))
    (export "[method]tcp-socket.subscribe" (func
      (param "self" (borrow $socket)) (result (own $pollable))))))
  (alias export $tcp "tcp-socket" (type $socket))

  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $tcp-create-socket
    (alias outer $component $socket (type $socket'))
    (export "tcp-socket" (type $socket (eq $socket')))
    (alias outer $component $error-code (type $error-code'))
    (export "error-code" (type $error-code (eq $error-code')))
    (alias outer $component $family (type $family'))
    (export "ip-address-family" (type $family (eq $family')))
    (export "create-tcp-socket" (func
      (param "address-family" $family) (result (result (own $socket) (error $error-code)))))))
"#;

/// The functions of the imported instances: their names in the code, and their core types.
const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    ("poll", "poll", "poll", "(param i32 i32 i32)"),
    ("block", "poll", "[method]pollable.block", "(param i32)"),
    (
        "ready",
        "poll",
        "[method]pollable.ready",
        "(param i32) (result i32)",
    ),
    (
        "read",
        "streams",
        "[method]input-stream.read",
        "(param i32 i64 i32)",
    ),
    (
        "blocking-read",
        "streams",
        "[method]input-stream.blocking-read",
        "(param i32 i64 i32)",
    ),
    (
        "blocking-skip",
        "streams",
        "[method]input-stream.blocking-skip",
        "(param i32 i64 i32)",
    ),
    (
        "input-ready",
        "streams",
        "[method]input-stream.subscribe",
        "(param i32) (result i32)",
    ),
    (
        "write",
        "streams",
        "[method]output-stream.write",
        "(param i32 i32 i32 i32)",
    ),
    (
        "blocking-write",
        "streams",
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    (
        "blocking-zeroes",
        "streams",
        "[method]output-stream.blocking-write-zeroes-and-flush",
        "(param i32 i64 i32)",
    ),
    (
        "blocking-flush",
        "streams",
        "[method]output-stream.blocking-flush",
        "(param i32 i32)",
    ),
    (
        "output-ready",
        "streams",
        "[method]output-stream.subscribe",
        "(param i32) (result i32)",
    ),
    (
        "blocking-splice",
        "streams",
        "[method]output-stream.blocking-splice",
        "(param i32 i32 i64 i32)",
    ),
    ("now", "clock", "now", "(result i64)"),
    (
        "sleep",
        "clock",
        "subscribe-duration",
        "(param i64) (result i32)",
    ),
    ("stdin", "stdin", "get-stdin", "(result i32)"),
    ("stdout", "stdout", "get-stdout", "(result i32)"),
    (
        "network",
        "instance-network",
        "instance-network",
        "(result i32)",
    ),
    (
        "create",
        "tcp-create-socket",
        "create-tcp-socket",
        "(param i32 i32)",
    ),
    (
        "start-bind",
        "tcp",
        "[method]tcp-socket.start-bind",
        ADDRESS,
    ),
    (
        "finish-bind",
        "tcp",
        "[method]tcp-socket.finish-bind",
        "(param i32 i32)",
    ),
    (
        "start-listen",
        "tcp",
        "[method]tcp-socket.start-listen",
        "(param i32 i32)",
    ),
    (
        "finish-listen",
        "tcp",
        "[method]tcp-socket.finish-listen",
        "(param i32 i32)",
    ),
    (
        "start-connect",
        "tcp",
        "[method]tcp-socket.start-connect",
        ADDRESS,
    ),
    (
        "finish-connect",
        "tcp",
        "[method]tcp-socket.finish-connect",
        "(param i32 i32)",
    ),
    (
        "accept",
        "tcp",
        "[method]tcp-socket.accept",
        "(param i32 i32)",
    ),
    (
        "local-address",
        "tcp",
        "[method]tcp-socket.local-address",
        "(param i32 i32)",
    ),
    (
        "socket-ready",
        "tcp",
        "[method]tcp-socket.subscribe",
        "(param i32) (result i32)",
    ),
];

const ADDRESS: &str = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)";

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
  (core instance $libc (instantiate $libc-module))
  (core func $drop-pollable (canon resource.drop $pollable))
  (core func $drop-input (canon resource.drop $input))
  (core func $drop-output (canon resource.drop $output))
"#;

/// Used by the code of the tests. Results are stored at 0, and lists are at 1024.
const HELPERS: &str = r#"
    (memory (import "libc" "memory") 2)
    (func $set (param $place i32) (param $pollable i32)
      (i32.store
        (i32.add (i32.const 1024) (i32.shl (local.get $place) (i32.const 2)))
        (local.get $pollable)))
    ;; Polls what was set, and returns which are ready, as bits.
    (func $poll-list (param $len i32) (result i32)
      (local $i i32) (local $bits i32)
      (call $poll (i32.const 1024) (local.get $len) (i32.const 0))
      (loop $next
        (if (i32.lt_u (local.get $i) (i32.load (i32.const 4)))
          (then
            (local.set $bits (i32.or (local.get $bits) (i32.shl (i32.const 1)
              (i32.load (i32.add
                (i32.load (i32.const 0)) (i32.shl (local.get $i) (i32.const 2)))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next))))
      (local.get $bits))
    ;; Traps if the result at 0 is an error.
    (func $expect (if (i32.load8_u (i32.const 0)) (then unreachable)))
    (func (export "read-from") (param $stream i32) (result i32)
      (call $blocking-read (local.get $stream) (i64.const 16) (i32.const 0))
      (call $drop-input (local.get $stream))
      (i32.load (i32.const 8)))
"#;

/// A component that exports `run: func(arg: u64) -> u32`, with this code, and `read-from`.
pub fn component(code: &str) -> String {
    let mut wat = format!("(component $component {IMPORTS} {LIBC}");
    let mut imports = String::new();
    let mut given = String::new();
    for (name, instance, function, ty) in FUNCTIONS {
        write!(
            wat,
            r#"
  (core func ${name} (canon lower (func ${instance} "{function}")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))"#
        )
        .unwrap();
        import(&mut imports, &mut given, name, ty);
    }
    for name in ["drop-pollable", "drop-input", "drop-output"] {
        import(&mut imports, &mut given, name, "(param i32)");
    }
    wat + &format!(
        r#"
  (core module $main-module {imports} {HELPERS}
    (func (export "run") (param $arg i64) (result i32) {code}))
  (core instance $main (instantiate $main-module
    (with "libc" (instance $libc)) (with "host" (instance {given}))))
  (func (export "run") (param "arg" u64) (result u32)
    (canon lift (core func $main "run")))
  (func (export "read-from") (param "stream" (borrow $input)) (result u32)
    (canon lift (core func $main "read-from"))))"#
    )
}

fn import(imports: &mut String, given: &mut String, name: &str, ty: &str) {
    write!(
        imports,
        "\n    (import \"host\" \"{name}\" (func ${name} {ty}))"
    )
    .unwrap();
    write!(given, "\n    (export \"{name}\" (func ${name}))").unwrap();
}
