//! The standard streams, which all guest threads of a store share.
//!
//! With upstream, each `get-stdin` returns a stream of its own, and all of them have the
//! same source. They are not made for threads that wait at the same time: those of
//! [`AsyncStdinStream`](wasmtime_wasi::cli::AsyncStdinStream) trap while one of them is
//! waited for, and those of any source trap once others were faster too often. So here all
//! handles share the first stream. Those that read take turns, and those that write and
//! flush do not mix what they write.
//!
//! What upstream says of its own streams holds here too: what `check-write` permits to one
//! handle may be used up by another. A guest that then writes anyway may trap.

use crate::shared_wait::{Shared as SharedFuture, SharedWait};
use crate::wait::in_runtime;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut, format_err};
use wasmtime_wasi::cli::WasiCliView as _;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{ResourceTable, WasiView, async_trait};

pub fn add_to_linker<T: WasiView>(linker: &mut Linker<T>) -> Result<()> {
    macro_rules! stream {
        ($interface:literal, $function:literal, $get:path, $stream:ident: $ty:ty) => {
            linker.instance($interface)?.func_wrap(
                $function,
                |mut store: StoreContextMut<'_, T>, ()| {
                    let data = store.data_mut();
                    let stream = match Stdio::of(data.ctx().table)?.$stream.clone() {
                        Some(stream) => stream,
                        None => {
                            let first = $get(&mut data.cli())?;
                            let table = data.ctx().table;
                            let stream = Shared::new(table.delete(first)?);
                            Stdio::of(table)?.$stream.insert(stream).clone()
                        }
                    };
                    let handle: $ty = Box::new(Handle(stream));
                    Ok((data.ctx().table.push(handle)?,))
                },
            )?
        };
    }
    stream!(
        "wasi:cli/stdin@0.2.12",
        "get-stdin",
        stdin::Host::get_stdin,
        stdin: DynInputStream
    );
    stream!(
        "wasi:cli/stdout@0.2.12",
        "get-stdout",
        stdout::Host::get_stdout,
        stdout: DynOutputStream
    );
    stream!(
        "wasi:cli/stderr@0.2.12",
        "get-stderr",
        stderr::Host::get_stderr,
        stderr: DynOutputStream
    );
    Ok(())
}

/// The streams that guests have asked for. An entry of the store's table.
#[derive(Default)]
struct Stdio {
    stdin: Option<Arc<Shared<DynInputStream>>>,
    stdout: Option<Arc<Shared<DynOutputStream>>>,
    stderr: Option<Arc<Shared<DynOutputStream>>>,
}

impl Stdio {
    fn of(table: &mut ResourceTable) -> Result<&mut Stdio> {
        // It is one of the first entries.
        let exists = |table: &mut ResourceTable| table.iter_mut().any(|entry| entry.is::<Stdio>());
        if !exists(table) {
            table.push(Stdio::default())?;
        }
        let mut entries = table.iter_mut();
        let stdio = entries.find_map(|entry| entry.downcast_mut());
        stdio.ok_or_else(|| format_err!("the standard streams are gone"))
    }
}

struct Shared<S> {
    stream: Arc<Mutex<S>>,
    wait: SharedWait,
}

impl<S: Pollable> Shared<S> {
    fn new(stream: S) -> Arc<Self> {
        Arc::new(Shared {
            stream: Arc::new(Mutex::new(stream)),
            wait: SharedWait::default(),
        })
    }

    /// Waits until the stream is ready. Somebody else may get to use it first.
    async fn ready(&self) {
        let begin = || {
            let stream = self.stream.clone();
            Box::pin(in_runtime(async move {
                stream.lock_owned().await.ready().await;
            })) as SharedFuture
        };
        self.wait.wait(begin).await;
    }

    /// Calls `f` with the stream, unless another call has it to itself.
    fn now<R>(&self, f: impl FnOnce(&mut S) -> R) -> Option<R> {
        self.wait.give_way();
        let mut stream = self.stream.try_lock().ok()?;
        Some(f(&mut stream))
    }

    /// Has the stream to itself.
    async fn lock(&self) -> MutexGuard<'_, S> {
        self.wait.give_way();
        self.stream.lock().await
    }
}

/// What a guest has of a shared stream.
struct Handle<S>(Arc<Shared<S>>);

impl<S: Pollable> Handle<S> {
    /// Calls `f` until it has a result, and waits in between. Others may be faster any
    /// number of times. A stream that never makes anybody wait traps as upstream's do.
    async fn until<R>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> StreamResult<Option<R>>,
    ) -> StreamResult<R> {
        const MAX_ATTEMPTS: u8 = 10;
        let mut attempts = 0;
        loop {
            if let Some(result) = f(self)? {
                return Ok(result);
            }
            if attempts > MAX_ATTEMPTS {
                return Err(StreamError::trap("max blocking attempts exceeded"));
            }
            attempts += 1;
            let mut ready = pin!(self.0.ready());
            poll_fn(|cx| {
                let polled = ready.as_mut().poll(cx);
                if polled.is_pending() {
                    attempts = 0;
                }
                polled
            })
            .await;
        }
    }
}

#[async_trait]
impl<S: Pollable> Pollable for Handle<S> {
    async fn ready(&mut self) {
        self.0.ready().await
    }
}

#[async_trait]
impl InputStream for Handle<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.0.now(|stream| stream.read(size));
        read.unwrap_or_else(|| Ok(Bytes::new()))
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            self.0.ready().await;
            return self.read(size);
        }
        self.until(|handle| {
            let bytes = handle.read(size)?;
            Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
        })
        .await
    }
}

#[async_trait]
impl OutputStream for Handle<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Upstream's `AsyncWriteStream` queues these without bound.
        if bytes.is_empty() {
            return self.check_write().map(drop);
        }
        let written = self.0.now(|stream| stream.write(bytes));
        written.unwrap_or_else(|| Err(StreamError::trap("another call is writing to this stream")))
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Whoever has the stream flushes it.
        self.0.now(|stream| stream.flush()).unwrap_or(Ok(()))
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.now(|stream| stream.check_write()).unwrap_or(Ok(0))
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut stream = self.0.lock().await;
        stream.blocking_write_and_flush(bytes).await
    }

    async fn write_ready(&mut self) -> StreamResult<usize> {
        self.until(|handle| {
            let permit = handle.check_write()?;
            Ok(Some(permit).filter(|permit| *permit > 0))
        })
        .await
    }
}
