//! Blocking an OS thread until a waker is woken. A synchronous run does so while a pending
//! host future keeps the store, or all threads are parked.

use super::clock::Moment;
use super::sync::thread::{self, Thread};
use super::sync::{AtomicBool, Ordering, thread_local};
use core::cell::Cell;
use core::mem;
use core::ops::Deref;
use core::task::Waker;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::task::Wake;

/// Something that an OS thread can sleep on until its waker is woken.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

impl Waiter {
    fn new() -> Waiter {
        let shared = Arc::new(Shared {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        });
        Waiter {
            waker: Waker::from(shared.clone()),
            shared,
        }
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Forgets the wakes of an earlier poll.
    pub(super) fn reset(&self) {
        self.shared.woken.store(false, Ordering::Relaxed);
    }

    /// Sleeps until the waker is woken, since the last call or `reset`, or until `end`.
    pub(super) fn wait(&self, end: Option<Moment>) {
        while !self.shared.woken.swap(false, Ordering::Acquire) {
            let Some(end) = end else {
                thread::park();
                continue;
            };
            let left = end.left(Moment::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

thread_local! {
    static IDLE: Cell<Option<Waiter>> = const { Cell::new(None) };
}

/// An OS thread's waiter, on loan to one of its runs. A nested run gets another, as the outer
/// one's waker may be woken meanwhile.
pub(super) struct Loan(Option<Waiter>);

impl Loan {
    pub(super) fn new() -> Loan {
        let idle = IDLE.try_with(|idle| idle.take()).ok().flatten();
        Loan(Some(idle.unwrap_or_else(Waiter::new)))
    }
}

impl Deref for Loan {
    type Target = Waiter;

    fn deref(&self) -> &Waiter {
        match &self.0 {
            Some(waiter) => waiter,
            None => unreachable!("it is given back by `drop` only"),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let waiter = mem::take(&mut self.0);
        // An OS thread that is ending needs none.
        let _ = IDLE.try_with(|idle| idle.set(waiter));
    }
}

/// Wakes a foreign waker. If it panics, which the panic hook has reported, later wakers are
/// still woken.
pub(super) fn wake(waker: Waker) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
}
