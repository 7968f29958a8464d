//! Parking and waking threads, and finding those that nobody can wake.

use super::entry::EndWaker;
use super::{PreemptiveThreads, Thread};
use crate::prelude::*;
use crate::runtime::preempt::clock::Moment;
use crate::runtime::preempt::id::ThreadId;
use crate::runtime::preempt::park::{Park, WaitFor};
use crate::runtime::preempt::thread_waker::ThreadWaker;
use crate::runtime::preempt::trace::Traced;
use crate::runtime::preempt::wait;
use crate::store::StoreOpaque;
use core::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError, Weak};

impl Thread {
    /// What it waits for, if parked.
    pub(super) fn waits_for(&self) -> Option<WaitFor> {
        let park = self.status.park()?;
        if let Some(id) = park.component {
            return Some(WaitFor::Component(id));
        }
        if let (true, Some(until)) = (park.throttled, park.until) {
            return Some(WaitFor::CpuRate(until.to_instant()));
        }
        Some(match (park.atomic, park.until) {
            (Some((address, _)), _) => WaitFor::Atomic(address),
            _ if self.has_lent_its_waker() => WaitFor::Future,
            (None, until) => match (park.joins.first(), until) {
                (Some(id), _) => WaitFor::Thread(*id),
                (None, Some(until)) => WaitFor::Time(until.to_instant()),
                (None, None) => WaitFor::Future,
            },
        })
    }

    /// Whether somebody else holds its waker.
    fn has_lent_its_waker(&self) -> bool {
        let waker = self.waker.as_ref();
        let lent = waker.is_some_and(|waker| Arc::strong_count(waker) > 1);
        // Its last holder may have woken it first. This makes that wake visible.
        fence(Ordering::Acquire);
        lent
    }
}

impl PreemptiveThreads {
    /// The running thread's waker, created on first use.
    pub(in crate::runtime::preempt) fn running_waker(&mut self) -> Option<Arc<ThreadWaker>> {
        let id = self.running()?.id;
        let remote = &self.remote;
        let waker = &mut self.threads.get_mut(&id)?.waker;
        let new = || ThreadWaker::new(id, remote.clone());
        Some(waker.get_or_insert_with(new).clone())
    }

    /// Prepares arrow 3 for a thread that is to be parked. Returns nothing if it must not be: it
    /// may have been woken since it last looked.
    pub(super) fn park(&mut self, id: ThreadId, park: Box<Park>) -> Option<Box<Park>> {
        let thread = self.threads.get(&id);
        let waker = thread.and_then(|thread| thread.waker.as_ref());
        let has_ended = |id: &ThreadId| !self.is_live(*id);
        if waker.is_some_and(|waker| waker.is_woken()) || park.joins.iter().any(has_ended) {
            return None;
        }
        if let Some(until) = park.until {
            self.alarms.insert((until, id));
        }
        for join in &park.joins {
            self.joiners.entry(*join).or_default().insert(id);
        }
        Some(park)
    }

    /// Ends the thread's wait, whether or not that makes it ready. Returns whether it was
    /// parked.
    pub(super) fn unpark(&mut self, id: ThreadId) -> bool {
        let Some(park) = self
            .threads
            .get_mut(&id)
            .and_then(|thread| thread.status.wake())
        else {
            return false;
        };
        if let Some(until) = park.until {
            self.alarms.remove(&(until, id));
        }
        if park.throttled {
            self.count_throttled_time(id);
        }
        for join in &park.joins {
            if let Some(joiners) = self.joiners.get_mut(join) {
                joiners.remove(&id);
                if joiners.is_empty() {
                    self.joiners.remove(join);
                }
            }
        }
        true
    }

    /// Returns whether `id` became ready. The policy has not been notified of that.
    fn wake(&mut self, id: ThreadId, now: Option<Moment>) -> bool {
        if !self.unpark(id) {
            return false;
        }
        let run_clock = self.run_clock(now);
        match self.threads.get_mut(&id) {
            // A suspended thread must also be resumed.
            Some(thread) if thread.status.is_ready() => thread.ready_since = run_clock,
            _ => return false,
        }
        self.make_ready(id);
        self.record(now, Some(id), Traced::Woken);
        true
    }

    /// Wakes `ids`, and then notifies the policy, which may panic.
    pub(super) fn wake_all(&mut self, mut ids: Vec<ThreadId>, now: Option<Moment>) {
        ids.retain(|id| self.wake(*id, now));
        self.notify_policy_of_woken(ids, now);
    }

    pub(super) fn notify_policy_of_woken(&mut self, ids: Vec<ThreadId>, now: Option<Moment>) {
        for id in ids {
            self.notify_policy(now, |policy, now| policy.woken(now, id));
        }
    }

    /// Wakes threads whose waker was woken and, if `now` is given, those whose time has come.
    pub(in crate::runtime::preempt) fn wake_those_due(&mut self, now: Option<Moment>) {
        if self.remote.has_woken() {
            let mut woken = self.remote.take_woken();
            // One that is throttled looks again at what it waits for when it runs.
            woken.retain(|id| !self.threads.get(id).is_some_and(Thread::is_throttled));
            self.wake_all(woken, now);
        }
        while let Some(now) = now
            && let Some((until, id)) = self.alarms.first()
            && *until <= self.now_for_waits(now)
        {
            let id = *id;
            self.wake_all(vec![id], Some(now));
        }
    }

    /// Whether anybody must be ended, woken or reported as ended before the next dispatch.
    /// Cheap.
    #[inline]
    pub(in crate::runtime::preempt) fn anything_due(&self, now: Moment) -> bool {
        self.remote.has_requests()
            || self.remote.has_woken()
            || !self.exited.is_empty()
            || self
                .next_alarm()
                .is_some_and(|alarm| alarm <= self.now_for_waits(now))
            || self.next_timeout().is_some_and(|end| end <= now)
    }

    /// When to wake the first thread.
    pub(in crate::runtime::preempt) fn next_alarm(&self) -> Option<Moment> {
        self.alarms.first().map(|(until, _)| *until)
    }

    /// When to wake the first thread that then becomes ready.
    pub(super) fn next_alarm_unless_suspended(&self) -> Option<Moment> {
        let mut alarms = self.alarms.iter();
        let first = alarms.find(|(_, id)| !self.is_suspended(*id));
        first.map(|(until, _)| *until)
    }

    fn is_suspended(&self, id: ThreadId) -> bool {
        let thread = self.threads.get(&id);
        thread.is_some_and(|thread| thread.status.is_suspended())
    }

    /// When the first thread exceeds its wall time limit.
    pub(in crate::runtime::preempt) fn next_timeout(&self) -> Option<Moment> {
        self.timeouts.first().map(|(end, _)| *end)
    }

    /// Wakes those that wait for the end of `id`. Returns the threads that became ready. The
    /// policy has not been notified of them.
    pub(super) fn wake_joiners(&mut self, id: ThreadId, now: Moment) -> Vec<ThreadId> {
        let mut joiners = Vec::new();
        if !self.joiners.is_empty() {
            joiners.extend(self.joiners.remove(&id).unwrap_or_default());
            joiners.retain(|joiner| self.wake(*joiner, Some(now)));
        }
        if !self.end_wakers.is_empty() {
            let wakers = self.end_wakers.remove(&id).unwrap_or_default();
            for waker in wakers.iter().filter_map(Weak::upgrade) {
                let waker = waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
                wait::wake(waker);
            }
        }
        joiners
    }

    /// Has `waker` woken at the end of `id`, which is live.
    pub(in crate::runtime::preempt) fn wake_at_end(&mut self, id: ThreadId, waker: &Arc<EndWaker>) {
        let wakers = self.end_wakers.entry(id).or_default();
        if wakers.len() == wakers.capacity() {
            // Room for as many again, so that this is rare.
            wakers.retain(|waker| waker.strong_count() > 0);
            wakers.reserve(wakers.len() + 8);
        }
        wakers.push(Arc::downgrade(waker));
    }

    /// Whether some parked thread may be woken and run, as far as is known: by its alarm, by a
    /// holder of its waker, by another user of the same shared memory, or by the end of a thread
    /// with a wall time limit. Whoever waits for a component instance is let in by a sibling.
    pub(in crate::runtime::preempt) fn anyone_may_be_woken(&self) -> bool {
        let will_end = |id: &ThreadId| {
            let extra = self.threads.get(id).and_then(|t| t.extra.as_ref());
            extra.is_some_and(|extra| extra.timeout.is_some())
        };
        let may = |thread: &Thread| match thread.status.park() {
            Some(_) if thread.status.is_suspended() => false,
            Some(park) => match (park.atomic, &park.component) {
                (Some((_, from_outside)), _) => from_outside,
                (None, Some(id)) => will_end(id),
                (None, None) => thread.has_lent_its_waker() || park.joins.iter().any(will_end),
            },
            None => false,
        };
        if self.next_alarm_unless_suspended().is_some() {
            return true;
        }
        // Most likely the one that was found last.
        let last = ThreadId(self.may_be_woken.load(Ordering::Relaxed));
        if self.threads.get(&last).is_some_and(may) {
            return true;
        }
        let found = self.threads.iter().find(|(_, thread)| may(thread));
        if let Some((id, _)) = found {
            self.may_be_woken.store(id.0, Ordering::Relaxed);
        }
        found.is_some()
    }

    /// Whether a thread is neither running nor ready. For use while one is running.
    #[cfg(feature = "threads")]
    fn anyone_blocked(&self) -> bool {
        self.live > self.ready + 1
    }

    /// Whether the embedder has suspended a thread.
    pub(in crate::runtime::preempt) fn anyone_suspended(&self) -> bool {
        self.threads.iter().any(|(_, t)| t.status.is_suspended())
    }

    /// The parked threads and what each waits for, in spawn order.
    pub(in crate::runtime::preempt) fn parked(&self) -> Vec<(ThreadId, WaitFor)> {
        let waits_for = |id: ThreadId| Some((id, self.threads.get(&id)?.waits_for()?));
        self.live().into_iter().filter_map(waits_for).collect()
    }
}

impl StoreOpaque {
    /// Whether only guest threads of this store notify waiters of the shared memory at `base`.
    #[cfg(feature = "threads")]
    pub(in crate::runtime::preempt) fn threads_own_memory(&self, base: usize) -> bool {
        self.preempt().is_some_and(|threads| {
            threads.own_all_memories || threads.own_memories.contains_key(&base)
        })
    }

    /// The running thread is about to wake others, which need not interrupt it.
    #[cfg(feature = "threads")]
    pub(crate) fn start_waking_guest_threads(&mut self) {
        if let Some(threads) = self.preempt()
            && threads.is_running
            && threads.anyone_blocked()
        {
            threads.remote.set_alone(false);
        }
    }

    /// The running thread may have woken others, which are now ready.
    #[cfg(feature = "threads")]
    pub(crate) fn finish_waking_guest_threads(&mut self) {
        let Some(threads) = self.preempt_mut() else {
            return;
        };
        if !threads.is_running || !threads.anyone_blocked() {
            return;
        }
        threads.wake_those_due(None);
        if threads.ready == 0 {
            threads.remote.set_alone(true);
            // Another OS thread may have woken one meanwhile without interrupting.
            threads.wake_those_due(None);
        }
        self.running_is_alone_no_more();
    }

    /// A thread has become ready, perhaps beside one that had the CPU to itself, or the running
    /// thread must be suspended.
    pub(in crate::runtime::preempt) fn running_is_alone_no_more(&mut self) {
        if let Some(threads) = self.preempt()
            && threads.is_running
            && threads.slice_has_end()
        {
            threads.remote.set_alone(false);
            self.bring_end_forward();
        }
    }
}
