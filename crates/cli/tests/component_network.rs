//! Components have the network only if it is given to them.

mod common;

use common::{each_mode, file, rows, run};

/// `bind` binds a socket to 127.0.0.1, and `look-up` looks up an address. Both return 0, or one
/// more than the error's code.
fn component() -> String {
    file(
        "component-network.wat",
        r#"(component $component
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (import "wasi:sockets/network@0.2.0" (instance $network
        (export "network" (type (sub resource)))
        (type $error-code' (enum
            "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory"
            "timeout" "concurrency-conflict" "not-in-progress" "would-block" "invalid-state"
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
    (alias export $network "network" (type $network))
    (alias export $network "error-code" (type $error))
    (alias export $network "ip-address-family" (type $family))
    (alias export $network "ip-socket-address" (type $address))
    (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
        (alias outer $component $network (type $network'))
        (export "network" (type $network (eq $network')))
        (export "instance-network" (func (result (own $network))))))
    (import "wasi:sockets/tcp@0.2.0" (instance $tcp
        (alias outer $component $network (type $network'))
        (export "network" (type $network (eq $network')))
        (alias outer $component $error (type $error'))
        (export "error-code" (type $error (eq $error')))
        (alias outer $component $address (type $address'))
        (export "ip-socket-address" (type $address (eq $address')))
        (export "tcp-socket" (type $socket (sub resource)))
        (export "[method]tcp-socket.start-bind" (func
            (param "self" (borrow $socket)) (param "network" (borrow $network))
            (param "local-address" $address) (result (result (error $error)))))))
    (alias export $tcp "tcp-socket" (type $socket))
    (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
        (alias outer $component $socket (type $socket'))
        (export "tcp-socket" (type $socket (eq $socket')))
        (alias outer $component $error (type $error'))
        (export "error-code" (type $error (eq $error')))
        (alias outer $component $family (type $family'))
        (export "ip-address-family" (type $family (eq $family')))
        (export "create-tcp-socket" (func
            (param "address-family" $family) (result (result (own $socket) (error $error)))))))
    (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
        (alias outer $component $network (type $network'))
        (export "network" (type $network (eq $network')))
        (alias outer $component $error (type $error'))
        (export "error-code" (type $error (eq $error')))
        (export "resolve-address-stream" (type $stream (sub resource)))
        (export "resolve-addresses" (func (param "network" (borrow $network))
            (param "name" string) (result (result (own $stream) (error $error)))))))

    (core module $libc-module (memory (export "memory") 1) (data (i32.const 100) "127.0.0.1"))
    (core instance $libc (instantiate $libc-module))
    (core func $network (canon lower (func $instance-network "instance-network")))
    (core func $create (canon lower (func $create "create-tcp-socket")
        (memory (core memory $libc "memory"))))
    (core func $bind (canon lower (func $tcp "[method]tcp-socket.start-bind")
        (memory (core memory $libc "memory"))))
    (core func $look-up (canon lower (func $lookup "resolve-addresses")
        (memory (core memory $libc "memory"))))
    (core module $main-module
        (memory (import "libc" "memory") 1)
        (import "host" "network" (func $network (result i32)))
        (import "host" "create" (func $create (param i32 i32)))
        (import "host" "bind" (func $bind (param
            i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
        (import "host" "look-up" (func $look-up (param i32 i32 i32 i32)))
        ;; Of the result at 0, whose error is at this address.
        (func $error (param $at i32) (result i32)
            (if (result i32) (i32.load8_u (i32.const 0))
                (then (i32.add (i32.const 1) (i32.load8_u (local.get $at))))
                (else (i32.const 0))))
        (func (export "bind") (result i32)
            (call $create (i32.const 0) (i32.const 0))
            (if (i32.load8_u (i32.const 0)) (then (return (call $error (i32.const 4)))))
            (call $bind (i32.load (i32.const 4)) (call $network) (i32.const 0) (i32.const 0)
                (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0))
            (call $error (i32.const 1)))
        (func (export "look-up") (result i32)
            (call $look-up (call $network) (i32.const 100) (i32.const 9) (i32.const 0))
            (call $error (i32.const 4))))
    (core instance $main (instantiate $main-module
        (with "libc" (instance $libc))
        (with "host" (instance
            (export "network" (func $network)) (export "create" (func $create))
            (export "bind" (func $bind)) (export "look-up" (func $look-up))))))
    (func (export "bind") (result u32) (canon lift (core func $main "bind")))
    (func (export "look-up") (result u32) (canon lift (core func $main "look-up"))))"#,
    )
}

const ACCESS_DENIED: u64 = 2;

#[test]
fn sockets_are_for_those_that_inherit_the_network() {
    let bind = component() + ":bind";
    for mode in each_mode() {
        let json = mode
            .run(&["--json", "--inherit-network=2", &bind, &bind])
            .expect(0)
            .json();
        assert_eq!(rows(&json)[0]["results"][0], ACCESS_DENIED);
        assert_eq!(rows(&json)[1]["results"][0], 0);
        let json = mode
            .run(&["--json", "--inherit-network", &bind, &bind])
            .expect(0)
            .json();
        assert_eq!(rows(&json)[0]["results"][0], 0);
    }
}

#[test]
fn names_are_looked_up_where_that_is_allowed() {
    let look_up = component() + ":look-up";
    let json = run(&["--json", "--inherit-network", &look_up])
        .expect(0)
        .json();
    assert_ne!(rows(&json)[0]["results"][0], 0);
    let json = run(&["--json", "--allow-ip-name-lookup", &look_up])
        .expect(0)
        .json();
    assert_eq!(rows(&json)[0]["results"][0], 0);
}
