//! Standard streams of which every instance has a handle.

use crate::p2::support::*;
use crate::support::{Pipe, streams};
use bytes::Bytes;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, empty, sink};
use tokio::task::yield_now;
use wasmtime_wasi::cli::{
    AsyncStdinStream, AsyncStdoutStream, IsTerminal, StdinStream, StdoutStream,
};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

/// Writes a thousand times the byte that is the argument.
const WRITE: &str = "
    (memory.fill (i32.const 1024) (i32.wrap_i64 (local.get $arg)) (i32.const 1000))
    (call $blocking-write (call $stdout) (i32.const 1024) (i32.const 1000) (i32.const 0))
    (call $expect)
    (i32.const 1)";

#[test]
fn those_that_wait_for_input_take_turns() {
    const POLL: &str = "
        (call $block (call $input-ready (call $stdin)))
        (i32.const 1)";
    // Does not wait.
    const LOOK: &str = "
        (call $read (call $stdin) (i64.const 16) (i32.const 0))
        (call $expect)
        (i32.load (i32.const 8))";
    for kind in kinds() {
        kind.run(async {
            let (mut keyboard, stdin) = tokio::io::duplex(64);
            let mut wasi = WasiCtxBuilder::new();
            wasi.stdin(AsyncStdinStream::new(stdin));
            let mut guests = Guests::new(kind, &mut wasi);
            let mut readers = vec![guests.spawn(READ).await, guests.spawn(READ).await];
            let poller = guests.spawn(POLL).await;
            guests
                .run_another_beside(&[&readers[0], &readers[1], &poller])
                .await;
            let looker = guests.spawn(LOOK).await;
            guests.run_until(|guests| guests.finished(&looker)).await;
            assert_eq!(guests.returned(&looker), 0);

            for (text, len) in [("hello", 5), ("bye", 3)] {
                keyboard.write_all(text.as_bytes()).await.unwrap();
                guests
                    .run_until(|guests| readers.iter().any(|reader| guests.finished(reader)))
                    .await;
                let first = readers.iter().position(|reader| guests.finished(reader));
                let first = readers.remove(first.unwrap());
                assert_eq!(guests.returned(&first), len);
                assert!(!readers.iter().any(|reader| guests.finished(reader)));
            }
            // It may be that the readers were faster so far.
            keyboard.write_all(b"x").await.unwrap();
            guests.finish().await;
            assert_eq!(guests.returned(&poller), 1);
        });
    }
}

#[test]
fn writes_of_two_instances_do_not_mix() {
    for kind in kinds() {
        kind.run(async {
            let (stdout, mut screen) = tokio::io::duplex(16);
            let mut wasi = WasiCtxBuilder::new();
            wasi.stdout(AsyncStdoutStream::new(16, stdout));
            let mut guests = Guests::new(kind, &mut wasi);
            let writers = [guests.guest(WRITE).await, guests.guest(WRITE).await];
            let writers = [
                guests.start(&writers[0], (u64::from(b'a'),)),
                guests.start(&writers[1], (u64::from(b'b'),)),
            ];
            guests.run_another_beside(&writers.each_ref()).await;
            let poll = "
                (call $block (call $output-ready (call $stdout)))
                (call $blocking-flush (call $stdout) (i32.const 0))
                (call $expect)
                (i32.const 1)";
            let poller = guests.spawn(poll).await;
            guests
                .run_another_beside(&[&writers[0], &writers[1], &poller])
                .await;

            let reader = thread::spawn(move || {
                Executor::NoRuntime.run(async move {
                    let mut written = [0; 2000];
                    screen.read_exact(&mut written).await.unwrap();
                    (written, screen)
                })
            });
            guests.finish().await;
            for thread in writers.iter().chain([&poller]) {
                assert_eq!(guests.returned(thread), 1);
            }
            let (written, _screen) = reader.join().unwrap();
            let (first, second) = written.split_at(1000);
            assert!(first.iter().all(|byte| *byte == first[0]));
            assert!(second.iter().all(|byte| *byte == second[0]));
            assert_ne!(first[0], second[0]);
        });
    }
}

#[test]
fn suspended_one_leaves_the_input_to_the_others() {
    for kind in kinds() {
        kind.run(async {
            let stdin = Pipe::default();
            let mut guests = Guests::new(kind, &mut streams(&stdin, &Pipe::default()));
            let suspended = guests.spawn(READ).await;
            guests.run_another_beside(&[&suspended]).await;
            suspended.suspend(&mut guests.store).unwrap();
            // One that waits already, and one that comes later.
            for waits in [true, false] {
                let reader = guests.spawn(READ).await;
                if waits {
                    guests.run_until(|guests| guests.waits(&reader)).await;
                }
                stdin.type_in("hello");
                guests.run_until(|guests| guests.finished(&reader)).await;
                assert_eq!(guests.returned(&reader), 5);
            }
            suspended.resume(&mut guests.store).unwrap();
            stdin.type_in("bye");
            guests.finish().await;
            assert_eq!(guests.returned(&suspended), 3);
        });
    }
}

#[test]
fn others_may_be_faster_any_number_of_times() {
    for kind in kinds() {
        kind.run(async {
            let mut wasi = WasiCtxBuilder::new();
            wasi.stdin(Fickle::new(true)).stdout(Fickle::new(true));
            let mut guests = Guests::new(kind, &mut wasi);
            assert_eq!(guests.call(READ).await, 1);
            let flush = "(call $blocking-flush (call $stdout) (i32.const 0))
                (call $expect)
                (i32.const 1)";
            assert_eq!(guests.call(flush).await, 1);
        });
    }
}

#[test]
fn empty_writes_are_not_queued() {
    const CODE: &str = "
        (local $stream i32)
        (local.set $stream (call $stdout))
        (call $write (local.get $stream) (i32.const 1024) (i32.const 0) (i32.const 0))
        (call $expect)
        (call $write (local.get $stream) (i32.const 1024) (i32.const 1) (i32.const 0))
        (call $expect)
        (i32.const 1)";
    for kind in kinds() {
        kind.run(async {
            let mut wasi = WasiCtxBuilder::new();
            wasi.stdout(Fickle::new(true));
            assert_eq!(Guests::new(kind, &mut wasi).call(CODE).await, 1);
        });
    }
}

#[test]
fn stream_that_is_ready_and_has_nothing_traps() {
    for kind in kinds() {
        for code in [
            READ,
            "(call $blocking-flush (call $stdout) (i32.const 0)) (i32.const 1)",
        ] {
            kind.run(async {
                let mut wasi = WasiCtxBuilder::new();
                wasi.stdin(Fickle::new(false)).stdout(Fickle::new(false));
                let trap = Guests::new(kind, &mut wasi).trap(code).await;
                assert!(trap.contains("max blocking attempts exceeded"), "{trap}");
            });
        }
    }
}

/// A stream that says fifty times that it is ready, and is not. It may make its caller wait
/// before.
struct Fickle {
    waits: bool,
    looks: AtomicU32,
}

impl Fickle {
    fn new(waits: bool) -> Fickle {
        Fickle {
            waits,
            looks: AtomicU32::new(0),
        }
    }

    fn look(&self) -> usize {
        usize::from(self.looks.fetch_add(1, Ordering::Relaxed) >= 50)
    }
}

impl IsTerminal for Fickle {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Fickle {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Fickle::new(self.waits))
    }
}

impl StdoutStream for Fickle {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Fickle::new(self.waits))
    }
}

#[async_trait]
impl Pollable for Fickle {
    async fn ready(&mut self) {
        if self.waits {
            yield_now().await;
        }
    }
}

impl InputStream for Fickle {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Ok(vec![0; self.look()].into())
    }
}

impl OutputStream for Fickle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match bytes.is_empty() {
            true => Err(StreamError::trap("empty write")),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.look())
    }
}
