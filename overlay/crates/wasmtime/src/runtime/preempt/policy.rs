//! Which runnable guest thread comes next: round robin.
//!
//! Every [`Ready`](super::ThreadState::Ready) thread stands in the queue
//! exactly once, and nothing else does. A thread that was preempted goes to the
//! back, as does a new one, so between two dispatches of a thread every other
//! runnable thread is dispatched at most once more.

use super::threads::ThreadId;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct RunQueue {
    ready: VecDeque<ThreadId>,
}

impl RunQueue {
    /// Makes `id` the last to run.
    pub(super) fn push(&mut self, id: ThreadId) {
        self.ready.push_back(id);
    }

    /// Takes the thread whose turn it is.
    pub(super) fn pop(&mut self) -> Option<ThreadId> {
        self.ready.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}
