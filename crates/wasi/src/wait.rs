//! How to wait for a future: with the guest thread parked, or with the OS thread.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tokio::runtime::Handle;
use tokio::task;
use wasmtime::{Accessor, Result};
use wasmtime_wasi::runtime::with_ambient_tokio_runtime;

/// Waits for what a concurrent host function does, `work`: parks the guest thread that
/// has called. A plain call waits as upstream's functions do: an asynchronous one keeps
/// the store, and a synchronous one the OS thread.
pub async fn wait<T: 'static, R>(
    accessor: &Accessor<T>,
    work: impl Future<Output = Result<R>>,
) -> Result<R> {
    // Who is within a runtime must not keep its thread: tasks of it may be what is
    // waited for.
    if accessor.current_wasm_thread()?.is_some() || Handle::try_current().is_ok() {
        work.await
    } else {
        block_on(work)
    }
}

/// Keeps the OS thread until `future` is ready, also where upstream's `in_tokio` panics:
/// in a task of a runtime.
pub fn block_on<R>(future: impl Future<Output = R>) -> R {
    match block_on_unless(future, || false) {
        Some(result) => result,
        None => unreachable!("nobody asks for it to end before"),
    }
}

/// As [`block_on`], but drops `future` as soon as it was polled and `ends` says so.
pub fn block_on_unless<R>(
    future: impl Future<Output = R>,
    mut ends: impl FnMut() -> bool,
) -> Option<R> {
    let mut future = pin!(in_runtime(future));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        let poll = future.as_mut().poll(&mut cx);
        if ends() {
            return None;
        }
        match poll {
            Poll::Ready(result) => return Some(result),
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// What wasmtime-wasi and its streams do, with the runtime around that they expect.
pub async fn in_runtime<R>(future: impl Future<Output = R>) -> R {
    // A budget is for tasks that go back to their runtime in between.
    let mut future = pin!(task::unconstrained(future));
    poll_fn(|cx| with_ambient_tokio_runtime(|| future.as_mut().poll(cx))).await
}
