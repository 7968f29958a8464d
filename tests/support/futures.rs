//! Futures, and what polls them.

use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// The output of a future that is ready.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Is ready after `time`, woken by an OS thread of its own.
pub fn after(time: Duration) -> impl Future<Output = ()> + Send {
    let mut done = None;
    future::poll_fn(move |cx| {
        let done = done.get_or_insert_with(|| {
            let done = Arc::new(AtomicBool::new(false));
            let (set, waker) = (done.clone(), cx.waker().clone());
            thread::spawn(move || {
                thread::sleep(time);
                set.store(true, Ordering::SeqCst);
                waker.wake();
            });
            done
        });
        match done.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
}
