//! Ways to wait for a future: by parking the guest thread or by blocking the OS thread.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tokio::runtime::Handle;
use tokio::task;
use wasmtime::Result;
use wasmtime::preempt::ConcurrentCaller;
use wasmtime_wasi::runtime::with_ambient_tokio_runtime;

/// Waits for `work`, the body of a concurrent host function, by parking the calling guest
/// thread. A plain call waits as upstream's functions do: an asynchronous one keeps the
/// store borrowed, and a synchronous one blocks the OS thread.
pub async fn wait<T: 'static, R>(
    accessor: &ConcurrentCaller<T>,
    work: impl Future<Output = Result<R>>,
) -> Result<R> {
    // Never block a runtime's thread: `work` may be waiting for one of its tasks.
    if accessor.current_thread()?.is_some() || Handle::try_current().is_ok() {
        work.await
    } else {
        block_on(work)
    }
}

/// Blocks the OS thread until `future` is ready, even in a runtime's task, where upstream's
/// `in_tokio` panics.
pub fn block_on<R>(future: impl Future<Output = R>) -> R {
    match block_on_unless(future, || false) {
        Some(result) => result,
        None => unreachable!("nobody asks for it to end before"),
    }
}

/// Like [`block_on`], but drops `future` as soon as `ends` returns true after a poll.
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

/// Runs work of wasmtime-wasi and its streams inside the runtime they expect.
pub async fn in_runtime<R>(future: impl Future<Output = R>) -> R {
    // Budgets are for tasks that return to their runtime in between.
    let mut future = pin!(task::unconstrained(future));
    poll_fn(|cx| with_ambient_tokio_runtime(|| future.as_mut().poll(cx))).await
}
