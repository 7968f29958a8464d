//! The standard streams of a context, in a form that can be waited for without it.
//!
//! Upstream's functions borrow the context while they wait, and so the store, and nobody
//! else could run. Hence the streams in a context are replaced, when it is first used, by
//! ones that never wait but tell that they would have to:
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
//! So all of a descriptor's rights, errors and numbers are upstream's.

use crate::wait::{block_on_unless, in_runtime};
use bytes::Bytes;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use tokio::sync::Mutex as AsyncMutex;
use wasmtime::Result;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::Fd;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{ResourceTable, WasiView, async_trait};
use wiggle::GuestMemory;

/// A stream that threads wait for in turns. Whoever waits has the lock: what others ask
/// meanwhile has the answer that it is not ready.
struct Stream<S> {
    stream: AsyncMutex<S>,
    /// Whether it is one of our functions that uses the context.
    driven: Arc<AtomicBool>,
    /// Whether somebody would have had to wait for it.
    asked: AtomicBool,
    /// What was written and is on its way, in chunks.
    written: Mutex<Vec<Bytes>>,
}

/// Something that a guest thread can wait for.
#[async_trait]
pub trait Ready: Send + Sync {
    /// Waits until it is ready. Somebody else may be faster to use it then.
    async fn ready(&self);
}

impl<S: Pollable> Stream<S> {
    fn new(stream: S, driven: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Stream {
            stream: AsyncMutex::new(stream),
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

    /// Uses the stream with `f` if it is ready; else, or if `f` gives nothing, tells that
    /// it was asked for.
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

    /// For upstream's functions that neither wait nor are called by others.
    fn now<R>(&self, f: impl FnOnce(&mut S) -> StreamResult<R>) -> StreamResult<R> {
        match self.stream.try_lock() {
            Ok(mut stream) => f(&mut stream),
            Err(_) => Err(StreamError::trap("a guest thread waits for this stream")),
        }
    }

    async fn until_ready(&self) {
        if self.is_driven() {
            poll_fn(|cx| self.poll_now(cx, |_| Some(()))).await
        } else {
            self.stream.lock().await.ready().await
        }
    }
}

#[async_trait]
impl<S: Pollable> Ready for Stream<S> {
    async fn ready(&self) {
        in_runtime(async { self.stream.lock().await.ready().await }).await
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

/// In the place of a context's standard input.
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
            return self.0.stream.lock().await.blocking_read(size).await;
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

/// In the place of a context's standard output or error.
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

    /// What upstream's `fd_write` calls, and it only.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.0.is_driven() {
            let mut stream = self.0.stream.lock().await;
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

/// In the place of a stream for a moment.
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

/// The standard streams of a context that it has not closed. Kept in the context's own
/// table.
#[derive(Clone, Default)]
pub struct Stdio {
    inputs: Vec<Weak<Input>>,
    outputs: Vec<Weak<Output>>,
    driven: Arc<AtomicBool>,
}

/// What came of one of upstream's functions.
pub enum Step<R> {
    Done(R),
    /// It has done nothing, and would have had to wait for these.
    Asked(Vec<Arc<dyn Ready>>),
}

impl Stdio {
    /// Those of `context`.
    pub fn of(context: &mut WasiP1Ctx) -> Result<Stdio> {
        let table = context.ctx().table;
        // It is the first entry, or one of the first.
        if let Some(stdio) = table.iter_mut().find_map(|entry| entry.downcast_ref()) {
            return Ok(Stdio::clone(stdio));
        }
        let kept = table.push(Stdio::default())?;
        // Upstream makes them at the first look at any descriptor, which this is.
        let memory = &mut GuestMemory::Unshared(&mut []);
        if let Err(error) = context.fd_tell(memory, Fd::from(0u32)) {
            // An error number is an answer.
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

    /// Calls one of upstream's functions with the context of these streams, which it gives
    /// up as soon as it asks for one of them. What it waits for otherwise is short: files.
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

    /// What was written since it was last taken.
    pub fn take_written(&self) -> Written {
        let outputs = self.outputs.iter().filter_map(Weak::upgrade);
        let taken = outputs.map(|output| {
            let chunks = mem::take(&mut *lock(&output.written));
            (output, chunks)
        });
        Written(taken.filter(|(_, chunks)| !chunks.is_empty()).collect())
    }
}

/// Until it is dropped, one of our functions uses the context.
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

/// What is to be written.
pub struct Written(Vec<(Arc<Output>, Vec<Bytes>)>);

impl Written {
    /// Writes it, as upstream does.
    pub async fn write(self) -> StreamResult<()> {
        for (output, chunks) in self.0 {
            output.write(chunks).await?;
        }
        Ok(())
    }
}

/// Waits until one of `streams` is ready, for ever if there are none.
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
