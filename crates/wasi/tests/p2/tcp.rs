//! Sockets on the loopback device.

use crate::p2::support::*;
use crate::support::Pipe;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use wasmtime_wasi::WasiCtxBuilder;

fn loopback() -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_tcp(true);
    wasi.socket_addr_check(|address, _| {
        Box::pin(async move { address.ip().is_loopback() || address.ip().is_unspecified() })
    });
    wasi
}

/// Connects to the port that is the argument: `$in` and `$out`.
const CONNECT: &str = "
    (local $socket i32) (local $in i32) (local $out i32)
    (call $create (i32.const 0) (i32.const 0))
    (call $expect)
    (local.set $socket (i32.load (i32.const 4)))
    (call $start-connect (local.get $socket) (call $network)
      (i32.const 0) (i32.wrap_i64 (local.get $arg))
      (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0))
    (call $expect)
    (call $block (call $socket-ready (local.get $socket)))
    (call $finish-connect (local.get $socket) (i32.const 0))
    (call $expect)
    (local.set $in (i32.load (i32.const 4)))
    (local.set $out (i32.load (i32.const 8)))";

/// Reads from `$in`, writes the same to `$out`, and returns how much it was.
const ECHO: &str = "
    (call $blocking-read (local.get $in) (i64.const 16) (i32.const 0))
    (call $expect)
    (local.set $socket (i32.load (i32.const 8)))
    (call $blocking-write (local.get $out)
      (i32.load (i32.const 4)) (local.get $socket) (i32.const 0))
    (call $expect)
    (local.get $socket)";

#[test]
fn guest_that_waits_for_a_peer_leaves_the_cpu_to_others() {
    for kind in kinds() {
        kind.run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let (go, wait) = mpsc::channel();
            let peer = thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                wait.recv().unwrap();
                socket.write_all(b"hello").unwrap();
                let mut echo = [0; 5];
                socket.read_exact(&mut echo).unwrap();
                echo
            });
            let mut guests = Guests::new(kind, &mut loopback());
            let client = guests.guest(&format!("{CONNECT} {ECHO}")).await;
            let client = guests.start(&client, (port.into(),));
            guests.run_another_beside(&[&client]).await;
            go.send(()).unwrap();
            guests.finish().await;
            assert_eq!(guests.returned(&client), 5);
            assert_eq!(&peer.join().unwrap(), b"hello");
        });
    }
}

/// Listens on any port, writes it to standard output, as four letters, and accepts.
const LISTEN: &str = "
    (local $socket i32) (local $in i32) (local $out i32) (local $port i32) (local $i i32)
    (call $create (i32.const 0) (i32.const 0))
    (call $expect)
    (local.set $socket (i32.load (i32.const 4)))
    (call $start-bind (local.get $socket) (call $network)
      (i32.const 0) (i32.const 0)
      (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0))
    (call $expect)
    (call $finish-bind (local.get $socket) (i32.const 0))
    (call $expect)
    (call $start-listen (local.get $socket) (i32.const 0))
    (call $expect)
    (call $finish-listen (local.get $socket) (i32.const 0))
    (call $expect)
    (call $local-address (local.get $socket) (i32.const 0))
    (call $expect)
    (local.set $port (i32.load16_u (i32.const 8)))
    (loop $next
      (i32.store8 offset=1024 (local.get $i)
        (i32.add (i32.const 97) (i32.and (local.get $port) (i32.const 15))))
      (local.set $port (i32.shr_u (local.get $port) (i32.const 4)))
      (br_if $next (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1)))
        (i32.const 4))))
    (call $blocking-write (call $stdout) (i32.const 1024) (i32.const 4) (i32.const 0))
    (call $expect)
    (call $block (call $socket-ready (local.get $socket)))
    (call $accept (local.get $socket) (i32.const 0))
    (call $expect)
    (local.set $in (i32.load (i32.const 8)))
    (local.set $out (i32.load (i32.const 12)))";

#[test]
fn guest_that_waits_for_a_connection_leaves_the_cpu_to_others() {
    for kind in kinds() {
        kind.run(async {
            let stdout = Pipe::default();
            stdout.take_more(100);
            let mut guests = Guests::new(kind, loopback().stdout(stdout.clone()));
            let server = guests.spawn(&format!("{LISTEN} {ECHO}")).await;
            while stdout.written().is_empty() {
                guests.run_another_beside(&[&server]).await;
            }
            let port = stdout.written();
            let digits = port.bytes().rev().map(|digit| u16::from(digit - b'a'));
            let port = digits.fold(0, |port, digit| port * 16 + digit);
            let peer = thread::spawn(move || {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                socket.write_all(b"hello").unwrap();
                let mut echo = [0; 5];
                socket.read_exact(&mut echo).unwrap();
                echo
            });
            guests.finish().await;
            assert_eq!(guests.returned(&server), 5);
            assert_eq!(&peer.join().unwrap(), b"hello");
        });
    }
}
