//! A wait that several guest threads share, any of which may stop polling.
//!
//! Waiting for a stream holds its lock. If each thread waited for itself, one that holds the
//! lock and is then suspended would keep the stream from all others, ready or not. So the
//! future that waits belongs to no thread: whoever is polled, polls it.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pub type Shared = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub struct SharedWait {
    future: Mutex<Option<Shared>>,
    waiters: Arc<Waiters>,
}

/// Who waits. Woken together: those that find nothing left wait again.
#[derive(Default)]
struct Waiters(Mutex<Wakers>);

#[derive(Default)]
struct Wakers {
    wakers: BTreeMap<u64, Waker>,
    last: u64,
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Not under the lock: a waker may do anything.
        let wakers: Vec<_> = lock(&self.0).wakers.values().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

impl SharedWait {
    /// Waits for the shared future, or for that of `begin` if there is none.
    pub async fn wait(&self, begin: impl Fn() -> Shared) {
        let mut waiter = Waiter {
            wait: self,
            key: None,
        };
        poll_fn(|cx| waiter.poll(cx, &begin)).await;
    }

    /// Drops the shared future, and with it what it holds. Those that wait begin anew.
    pub fn give_way(&self) {
        let future = lock(&self.future).take();
        if future.is_some() {
            drop(future);
            self.waiters.wake_by_ref();
        }
    }
}

struct Waiter<'a> {
    wait: &'a SharedWait,
    key: Option<u64>,
}

impl Waiter<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, begin: &impl Fn() -> Shared) -> Poll<()> {
        self.register(cx.waker());
        let waiters = &self.wait.waiters;
        let mut future = lock(&self.wait.future);
        let polled = future
            .get_or_insert_with(begin)
            .as_mut()
            .poll(&mut Context::from_waker(&waiters.clone().into()));
        if polled.is_ready() {
            *future = None;
            drop(future);
            waiters.wake_by_ref();
        }
        polled
    }

    fn register(&mut self, waker: &Waker) {
        let mut waiters = lock(&self.wait.waiters.0);
        let key = *self.key.get_or_insert_with(|| {
            waiters.last += 1;
            waiters.last
        });
        let replaced = waiters.wakers.insert(key, waker.clone());
        drop(waiters);
        drop(replaced);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return;
        };
        let mut waiters = lock(&self.wait.waiters.0);
        let removed = waiters.wakers.remove(&key);
        let is_last = waiters.wakers.is_empty();
        drop(waiters);
        drop(removed);
        if is_last {
            drop(mem::take(&mut *lock(&self.wait.future)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
