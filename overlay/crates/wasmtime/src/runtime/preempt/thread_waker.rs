//! The waker of a guest thread.
//!
//! ```text
//!   the thread                             whoever wakes it
//!
//!   reset                                  changes what the thread waits for
//!   look at what it waits for              wake
//!   is_woken? park, or go on
//! ```
//!
//! Between `reset` and parking nothing is lost: the change is seen, or else the wake is.

use super::id::ThreadId;
use super::remote::Remote;
use super::sync::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::Wake;

/// The waker of a guest thread.
pub(super) struct ThreadWaker {
    id: ThreadId,
    remote: Arc<Remote>,
    /// Whether it was woken since the last check.
    woken: AtomicBool,
}

impl ThreadWaker {
    pub(super) fn new(id: ThreadId, remote: Arc<Remote>) -> Arc<ThreadWaker> {
        Arc::new(ThreadWaker {
            id,
            remote,
            woken: AtomicBool::new(false),
        })
    }

    /// Forgets earlier wakes: the thread is about to check what they reported.
    pub(super) fn reset(&self) {
        // `swap` acquires: everything the waker did before is visible.
        self.woken.swap(false, Ordering::SeqCst);
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.remote.wake(self.id);
        }
    }
}
