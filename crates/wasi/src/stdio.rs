//! Makes it possible to wait for a context's standard streams without borrowing the
//! context.
//!
//! Upstream's functions borrow the context while they wait, and with it the store, so no
//! other thread could run. So the first use of a context replaces its streams with ones
//! that never wait, but report that they would have to:
//!
//! ```text
//!   guest thread                            context of the process
//!
//!   fd_read: loop {
//!     upstream's fd_read(context)  ----->   SharedInput: not ready? asked = true
//!     asked? drop it, and                         |
//!     input.wait().await  <--- parked             v
//!   }                        `------------> Input: the stream that was there before
//! ```
//!
//! All rights, errors and numbers of a descriptor are therefore upstream's.

use crate::shared_wait::{Shared, SharedWait};
use crate::wait::{block_on_unless, in_runtime};
use bytes::Bytes;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use wasmtime::Result;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::Fd;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{ResourceTable, WasiView, async_trait};
use wiggle::GuestMemory;

/// A stream that threads wait for together. Waiting holds the lock; meanwhile, those that look
/// at the stream are told that it is not ready.
struct Stream<S> {
    stream: Arc<AsyncMutex<S>>,
    wait: SharedWait,
    /// Whether one of our functions is using the context.
    driven: Arc<AtomicBool>,
    /// Whether somebody would have had to wait for the stream.
    asked: AtomicBool,
    /// Written chunks that are still on their way.
    written: Mutex<Vec<Bytes>>,
}

/// Something a guest thread can wait for.
#[async_trait]
pub trait Ready: Send + Sync {
    /// Waits until it is ready. Somebody else may get to use it first.
    async fn ready(&self);
}

impl<S: Pollable> Stream<S> {
    fn new(stream: S, driven: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Stream {
            stream: Arc::new(AsyncMutex::new(stream)),
            wait: SharedWait::default(),
            driven: driven.clone(),
            asked: AtomicBool::new(false),
            written: Mutex::default(),
        })
    }

    fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Relaxed)
    }

    fn ask<R>(&self) -> Poll<R> {
        self.asked.store(true, Ordering::Relaxed);
        Poll::Pending
    }

    /// Calls `f` with the stream if it is ready. If it is not, or if `f` returns `None`,
    /// records that somebody asked for it.
    fn poll_now<R>(&self, cx: &mut Context<'_>, f: impl FnOnce(&mut S) -> Option<R>) -> Poll<R> {
        let Ok(mut stream) = self.stream.try_lock() else {
            return self.ask();
        };
        if stream.ready().as_mut().poll(cx).is_pending() {
            return self.ask();
        }
        match f(&mut stream) {
            Some(result) => Poll::Ready(result),
            None => self.ask(),
        }
    }

    /// For those of upstream's functions that do not wait, when called on their own.
    fn now<R>(&self, f: impl FnOnce(&mut S) -> StreamResult<R>) -> StreamResult<R> {
        self.wait.give_way();
        match self.stream.try_lock() {
            Ok(mut stream) => f(&mut stream),
            Err(_) => Err(StreamError::trap("a guest thread waits for this stream")),
        }
    }

    async fn until_ready(&self) {
        if self.is_driven() {
            poll_fn(|cx| self.poll_now(cx, |_| Some(()))).await
        } else {
            self.plain_call().await.ready().await
        }
    }

    /// The stream for a plain call, which goes before the guest threads that wait.
    async fn plain_call(&self) -> MutexGuard<'_, S> {
        self.wait.give_way();
        self.stream.lock().await
    }
}

#[async_trait]
impl<S: Pollable> Ready for Stream<S> {
    async fn ready(&self) {
        let begin = || {
            let stream = self.stream.clone();
            Box::pin(in_runtime(async move {
                stream.lock_owned().await.ready().await;
            })) as Shared
        };
        self.wait.wait(begin).await;
    }
}

type Input = Stream<DynInputStream>;
type Output = Stream<DynOutputStream>;

impl Output {
    /// Writes what upstream's `fd_write` was given.
    async fn write(&self, chunks: Vec<Bytes>) -> StreamResult<()> {
        in_runtime(async {
            let mut stream = self.stream.lock().await;
            for chunk in chunks {
                stream.blocking_write_and_flush(chunk).await?;
            }
            Ok(())
        })
        .await
    }
}

/// Replaces a context's standard input.
struct SharedInput(Arc<Input>);

#[async_trait]
impl Pollable for SharedInput {
    async fn ready(&mut self) {
        self.0.until_ready().await
    }
}

#[async_trait]
impl InputStream for SharedInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.now(|stream| stream.read(size))
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.0.is_driven() {
            return self.0.plain_call().await.blocking_read(size).await;
        }
        let read = |stream: &mut DynInputStream| match stream.read(size) {
            // Somebody else was faster.
            Ok(bytes) if bytes.is_empty() && size > 0 => None,
            result => Some(result),
        };
        poll_fn(|cx| self.0.poll_now(cx, read)).await
    }

    async fn cancel(&mut self) {
        if let Ok(mut stream) = self.0.stream.try_lock() {
            stream.cancel().await;
        }
    }
}

/// Replaces a context's standard output or error.
struct SharedOutput(Arc<Output>);

#[async_trait]
impl Pollable for SharedOutput {
    async fn ready(&mut self) {
        self.0.until_ready().await
    }
}

#[async_trait]
impl OutputStream for SharedOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.now(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.now(|stream| stream.flush())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.now(|stream| stream.check_write())
    }

    /// Called only by upstream's `fd_write`.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.0.is_driven() {
            let mut stream = self.0.plain_call().await;
            return stream.blocking_write_and_flush(bytes).await;
        }
        lock(&self.0.written).push(bytes);
        Ok(())
    }

    async fn cancel(&mut self) {
        if let Ok(mut stream) = self.0.stream.try_lock() {
            stream.cancel().await;
        }
    }
}

/// Stands in for a stream while it is being replaced.
struct Nothing;

#[async_trait]
impl Pollable for Nothing {
    async fn ready(&mut self) {}
}

impl InputStream for Nothing {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

impl OutputStream for Nothing {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Err(StreamError::Closed)
    }
}

/// The standard streams that a context has not closed. Stored in the context's own table.
#[derive(Clone, Default)]
pub struct Stdio {
    inputs: Vec<Weak<Input>>,
    outputs: Vec<Weak<Output>>,
    driven: Arc<AtomicBool>,
}

/// The outcome of one of upstream's functions.
pub enum Step<R> {
    Done(R),
    /// It did nothing, and would have had to wait for these.
    Asked(Vec<Arc<dyn Ready>>),
}

impl Stdio {
    /// The streams of `context`.
    pub fn of(context: &mut WasiP1Ctx) -> Result<Stdio> {
        let table = context.ctx().table;
        // It is the first entry, or one of the first.
        if let Some(stdio) = table.iter_mut().find_map(|entry| entry.downcast_ref()) {
            return Ok(Stdio::clone(stdio));
        }
        let kept = table.push(Stdio::default())?;
        // Upstream creates the streams on its first look at any descriptor: this one.
        let memory = &mut GuestMemory::Unshared(&mut []);
        if let Err(error) = context.fd_tell(memory, Fd::from(0u32)) {
            // An errno is a valid answer.
            error.downcast()?;
        }
        let table = context.ctx().table;
        let stdio = Stdio::replace(table);
        *table.get_mut(&kept)? = stdio.clone();
        Ok(stdio)
    }

    fn replace(table: &mut ResourceTable) -> Stdio {
        let mut stdio = Stdio::default();
        for entry in table.iter_mut() {
            if let Some(stream) = entry.downcast_mut::<DynInputStream>() {
                let input = Stream::new(mem::replace(stream, Box::new(Nothing)), &stdio.driven);
                stdio.inputs.push(Arc::downgrade(&input));
                *stream = Box::new(SharedInput(input));
            } else if let Some(stream) = entry.downcast_mut::<DynOutputStream>() {
                let output = Stream::new(mem::replace(stream, Box::new(Nothing)), &stdio.driven);
                stdio.outputs.push(Arc::downgrade(&output));
                *stream = Box::new(SharedOutput(output));
            }
        }
        stdio
    }

    /// Calls one of upstream's functions with the context of these streams. Drops the call
    /// as soon as it asks for one of them. Its other waits are short: files.
    pub fn drive<R>(&self, function: impl Future<Output = R>) -> Step<R> {
        let asked = || self.asked().next().is_some();
        let driving = Driving::new(&self.driven);
        let done = block_on_unless(function, asked);
        drop(driving);
        match done {
            Some(result) => Step::Done(result),
            None => Step::Asked(self.take_asked()),
        }
    }

    fn asked(&self) -> impl Iterator<Item = Arc<dyn Ready>> {
        fn asked<S: Pollable>(stream: &Weak<Stream<S>>) -> Option<Arc<dyn Ready>> {
            let stream = stream.upgrade()?;
            stream.asked.load(Ordering::Relaxed).then_some(stream)
        }
        let inputs = self.inputs.iter().filter_map(asked);
        inputs.chain(self.outputs.iter().filter_map(asked))
    }

    fn take_asked(&self) -> Vec<Arc<dyn Ready>> {
        let asked = self.asked().collect();
        for input in self.inputs.iter().filter_map(Weak::upgrade) {
            input.asked.store(false, Ordering::Relaxed);
        }
        for output in self.outputs.iter().filter_map(Weak::upgrade) {
            output.asked.store(false, Ordering::Relaxed);
        }
        asked
    }

    /// What was written since this was last called.
    pub fn take_written(&self) -> Written {
        let outputs = self.outputs.iter().filter_map(Weak::upgrade);
        let taken = outputs.map(|output| {
            let chunks = mem::take(&mut *lock(&output.written));
            (output, chunks)
        });
        Written(taken.filter(|(_, chunks)| !chunks.is_empty()).collect())
    }
}

/// While this lives, one of our functions is using the context.
struct Driving<'a>(&'a AtomicBool);

impl Driving<'_> {
    fn new(driven: &AtomicBool) -> Driving<'_> {
        driven.store(true, Ordering::Relaxed);
        Driving(driven)
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Chunks to be written.
pub struct Written(Vec<(Arc<Output>, Vec<Bytes>)>);

impl Written {
    /// Writes them, as upstream does.
    pub async fn write(self) -> StreamResult<()> {
        for (output, chunks) in self.0 {
            output.write(chunks).await?;
        }
        Ok(())
    }
}

/// Waits until one of `streams` is ready; forever if there are none.
pub async fn any_ready(streams: &[Arc<dyn Ready>]) {
    let mut waits: Vec<_> = streams.iter().map(|stream| stream.ready()).collect();
    match &mut waits[..] {
        [] => pending().await,
        waits => {
            poll_fn(
                |cx| match waits.iter_mut().any(|w| w.as_mut().poll(cx).is_ready()) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                },
            )
            .await;
        }
    }
}

fn lock<R>(mutex: &Mutex<R>) -> std::sync::MutexGuard<'_, R> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
