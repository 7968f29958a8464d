//! Tasks, such as guest threads, that wait at a parking spot beside OS threads.
//!
//! `tasks_disabled.rs` is its twin without them.

use super::{ParkingSpot, Spot, Waiter};
use crate::prelude::*;
use crate::runtime::vm::SendSyncPtr;
use core::ptr::NonNull;
use core::task::Waker;
use std::thread::{self, Thread};

/// Who is to be told that a waiter was notified.
pub(super) enum Blocked {
    Thread(Thread),
    Task(Waker),
}

pub(super) fn this_thread() -> Blocked {
    Blocked::Thread(thread::current())
}

/// The tasks that were notified.
///
/// A waker may do anything, such as to poll what then looks at this parking spot, or panic. So
/// they are woken when it is unlocked.
#[derive(Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Notifies a thread, or keeps a task to be woken.
    pub(super) fn notify(&mut self, blocked: &Blocked) {
        match blocked {
            Blocked::Thread(thread) => thread.unpark(),
            Blocked::Task(waker) => self.0.push(waker.clone()),
        }
    }

    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl ParkingSpot {
    /// Same as the first half of `wait32` and `wait64`: enqueues `waiter` if
    /// `validate` says so, and returns what that said. Instead of unblocking
    /// a thread, `notify` will wake `waker`.
    ///
    /// # Safety
    ///
    /// `waiter` must stay where it is until it was given to `dequeue`, with
    /// the same `key`.
    pub unsafe fn enqueue(
        &self,
        key: u64,
        validate: impl FnOnce() -> bool,
        waiter: &mut Waiter,
        waker: Waker,
    ) -> bool {
        let mut inner = self
            .inner
            .lock()
            .expect("failed to lock inner parking table");
        if !validate() {
            return false;
        }
        let ptr = waiter.ready(Blocked::Task(waker));
        let spot = inner.entry(key).or_insert_with(Spot::default);
        // SAFETY: I14. The lock is held, the waiter was just readied and so is in no queue,
        // and it stays there as this function requires.
        unsafe {
            spot.push(ptr);
        }
        true
    }

    /// Returns whether `waiter`, which was enqueued, was notified.
    pub fn was_notified(&self, waiter: &Waiter) -> bool {
        let _inner = self
            .inner
            .lock()
            .expect("failed to lock inner parking table");
        waiter.inner.as_ref().is_some_and(|inner| inner.notified)
    }

    /// Removes `waiter`, which was enqueued with `key`, from its queue unless
    /// it was notified. Returns whether it was.
    ///
    /// # Safety
    ///
    /// `waiter` must have been enqueued with `key`, and not been dequeued.
    pub unsafe fn dequeue(&self, key: u64, waiter: &mut Waiter) -> bool {
        let mut inner = self
            .inner
            .lock()
            .expect("failed to lock inner parking table");
        let Some(waiter) = &mut waiter.inner else {
            return false;
        };
        if !waiter.notified {
            let ptr = SendSyncPtr::new(NonNull::from(&mut **waiter));
            if let Some(spot) = inner.get_mut(&key) {
                // SAFETY: I14. The lock is held, and a waiter that was enqueued and not
                // notified is in the queue of its key.
                unsafe {
                    spot.remove(ptr);
                }
                if spot.is_empty() {
                    inner.remove(&key);
                }
            }
        }
        waiter.notified
    }
}
