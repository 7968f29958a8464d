//! Threads as seen from outside.

use super::{PreemptiveThreads, Thread};
use crate::prelude::*;
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::info::{ThreadInfo, ThreadState};
use crate::runtime::preempt::limits::{Budget, ThreadLimits};

impl PreemptiveThreads {
    /// The unfinished threads, in spawn order.
    pub(in crate::runtime::preempt) fn live(&self) -> Vec<ThreadId> {
        let threads = self.threads.iter();
        sorted(
            threads
                .filter(|(_, thread)| !thread.status.is_finished())
                .map(|(id, _)| id),
        )
    }

    /// Whether there is such a thread, and it is unfinished.
    pub(in crate::runtime::preempt) fn is_live(&self, id: ThreadId) -> bool {
        let thread = self.threads.get(&id);
        thread.is_some_and(|thread| !thread.status.is_finished())
    }

    /// Whether there was ever such a thread.
    pub(in crate::runtime::preempt) fn was_spawned(&self, id: ThreadId) -> bool {
        (1..=self.last_id).contains(&id.0)
    }

    pub(in crate::runtime::preempt) fn get(&self, id: ThreadId) -> Option<ThreadInfo<'_>> {
        Some(self.info(id, self.threads.get(&id)?))
    }

    /// All threads, in spawn order.
    pub(in crate::runtime::preempt) fn list(&self) -> impl Iterator<Item = ThreadInfo<'_>> {
        let ids = sorted(self.threads.iter().map(|(id, _)| id));
        ids.into_iter().filter_map(|id| self.get(id))
    }

    fn info<'a>(&'a self, id: ThreadId, thread: &'a Thread) -> ThreadInfo<'a> {
        let mut usage = thread.usage;
        if !thread.status.is_finished() {
            usage.wall_time = self.run_clock(None).saturating_sub(thread.spawned);
        }
        ThreadInfo {
            id,
            name: thread.name.as_deref(),
            state: if thread.status.is_finished() {
                ThreadState::Finished
            } else if self.running().is_some_and(|r| r.id == id) {
                ThreadState::Running
            } else if thread.status.is_suspended() {
                ThreadState::Suspended
            } else if thread.status.park().is_some() {
                ThreadState::Parked
            } else {
                ThreadState::Ready
            },
            waits_for: thread.waits_for(),
            slice: thread.slice.unwrap_or(self.slice),
            limits: thread.budget().map_or(ThreadLimits::new(), Budget::limits),
            stats: usage.stats(thread.extra.as_ref().map(|extra| &extra.throttle)),
        }
    }
}

/// In spawn order.
fn sorted(ids: impl Iterator<Item = ThreadId>) -> Vec<ThreadId> {
    let mut ids: Vec<ThreadId> = ids.collect();
    ids.sort_unstable();
    ids
}
