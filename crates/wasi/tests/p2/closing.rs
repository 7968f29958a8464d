//! Streams that end or fail while somebody waits for them.

use crate::p2::support::*;
use crate::support::{Pipe, streams};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, empty, sink};
use wasmtime::format_err;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

/// A result as its two discriminants: 256 for an error, plus its kind.
const RESULT: &str = "(i32.add
    (i32.shl (i32.load8_u (i32.const 0)) (i32.const 8))
    (i32.load8_u (i32.const 4)))";
/// The same, for a result with a payload that is aligned to eight bytes.
const RESULT64: &str = "(i32.add
    (i32.shl (i32.load8_u (i32.const 0)) (i32.const 8))
    (i32.load8_u (i32.const 8)))";
const FAILED: u32 = 256;
const CLOSED: u32 = 256 + 1;

/// Code that uses standard input or output, and where its result is.
const CALLS: [(&str, &str); 6] = [
    (
        "(call $blocking-read (call $stdin) (i64.const 16) (i32.const 0))",
        RESULT,
    ),
    (
        "(call $blocking-skip (call $stdin) (i64.const 16) (i32.const 0))",
        RESULT64,
    ),
    (
        "(call $blocking-splice (call $stdout) (call $stdin) (i64.const 16) (i32.const 0))",
        RESULT64,
    ),
    (
        "(call $blocking-write (call $stdout) (i32.const 1024) (i32.const 5) (i32.const 0))",
        RESULT,
    ),
    (
        "(call $blocking-zeroes (call $stdout) (i64.const 5) (i32.const 0))",
        RESULT,
    ),
    (
        "(call $blocking-flush (call $stdout) (i32.const 0))",
        RESULT,
    ),
];

#[test]
fn input_that_is_closed_meanwhile_ends_the_wait() {
    for kind in kinds() {
        for (call, result) in &CALLS[..3] {
            kind.run(async {
                let (stdin, stdout) = (Pipe::default(), Pipe::default());
                stdout.take_more(100);
                let mut guests = Guests::new(kind, &mut streams(&stdin, &stdout));
                let code = format!("{call} {result}");
                let close = || stdin.close();
                assert_eq!(guests.wait_beside_another(&code, close).await, CLOSED);
            });
        }
    }
}

#[test]
fn pollable_of_an_input_that_is_closed_is_ready() {
    const CODE: &str = "
        (local $stream i32)
        (local.set $stream (call $stdin))
        (call $block (call $input-ready (local.get $stream)))
        (call $blocking-read (local.get $stream) (i64.const 0) (i32.const 0))
        (i32.load8_u (i32.const 0))";
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let close = || stdin.close();
            assert_eq!(guests.wait_beside_another(CODE, close).await, 1);
        });
    }
}

#[test]
fn errors_are_upstreams() {
    for kind in kinds() {
        for (call, result) in CALLS {
            kind.run(async {
                let code = format!("{call} {result}");
                for (fails, expected) in [(Fails::Closed, CLOSED), (Fails::Operation, FAILED)] {
                    let mut guests = Guests::new(kind, &mut failing(fails));
                    assert_eq!(guests.call(&code).await, expected, "{code}");
                }
                let trap = Guests::new(kind, &mut failing(Fails::Trap))
                    .trap(&code)
                    .await;
                assert!(trap.contains("broken stream"), "{trap}");
            });
        }
    }
}

#[test]
fn stream_can_be_used_and_dropped_after_an_error() {
    const CODE: &str = "
        (local $in i32) (local $out i32)
        (local.set $in (call $stdin))
        (local.set $out (call $stdout))
        (call $blocking-splice (local.get $out) (local.get $in) (i64.const 1) (i32.const 0))
        (call $blocking-read (local.get $in) (i64.const 1) (i32.const 0))
        (call $blocking-flush (local.get $out) (i32.const 0))
        (call $block (call $input-ready (local.get $in)))
        (call $block (call $output-ready (local.get $out)))
        (call $drop-input (call $stdin))
        (call $drop-output (call $stdout))
        (i32.const 1)";
    for kind in kinds() {
        kind.run(async {
            let mut guests = Guests::new(kind, &mut failing(Fails::Operation));
            assert_eq!(guests.call(CODE).await, 1);
        });
    }
}

#[derive(Clone, Copy)]
enum Fails {
    Closed,
    Operation,
    Trap,
}

impl Fails {
    fn error(self) -> StreamError {
        match self {
            Fails::Closed => StreamError::Closed,
            Fails::Operation => StreamError::LastOperationFailed(format_err!("no luck")),
            Fails::Trap => StreamError::trap("broken stream"),
        }
    }
}

fn failing(fails: Fails) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(fails).stdout(fails);
    wasi
}

impl IsTerminal for Fails {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Fails {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(*self)
    }
}

impl StdoutStream for Fails {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[async_trait]
impl Pollable for Fails {
    async fn ready(&mut self) {}
}

impl InputStream for Fails {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(self.error())
    }
}

impl OutputStream for Fails {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
        Err(self.error())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Err(self.error())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Err(self.error())
    }
}
