//! Policies: what decides which ready guest thread runs next, and for how long.
//!
//! The mechanism (`threads.rs`, `run.rs`) tracks by itself which threads are ready, and notifies
//! the policy of every change, except of a pause: it dispatches a paused thread next without
//! asking. `threads/scheduling.rs` does both. It checks a policy's answer before acting on it:
//! picking a thread that is not ready, or none while some are, is an error of the run, and no
//! thread is lost.
//!
//! The default is round robin. A preempted or new thread goes to the back, so between two
//! dispatches of a thread every other ready thread is dispatched at most once more.

use super::id::ThreadId;
use super::prefetch::Hint;
use crate::prelude::*;
use core::any::Any;
use std::collections::VecDeque;

/// What a [`ThreadScheduler`] knows about a guest thread.
///
/// The store carries these and does not interpret them: their meaning is up to the scheduler.
/// Set them with the methods of the same names of [`ThreadOptions`](crate::ThreadOptions), and
/// later with [`ThreadId::set_params`](crate::ThreadId::set_params).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadParams {
    /// Its share of the CPU relative to other threads. At least 1, the default.
    pub weight: u32,
    /// Threads with a higher one go first. The default is 0.
    pub priority: i32,
    /// Its group. The default, 0, means none.
    pub group: u64,
    /// How soon after being spawned or woken it should be done, in ticks.
    pub deadline: Option<u64>,
}

impl Default for ThreadParams {
    fn default() -> ThreadParams {
        ThreadParams {
            weight: 1,
            priority: 0,
            group: 0,
            deadline: None,
        }
    }
}

impl ThreadParams {
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(
            self.weight > 0,
            "a guest thread's weight of 0 would keep it from running: it must be at \
             least 1; `ThreadId::suspend` stops one for a while"
        );
        Ok(())
    }
}

/// A [`ThreadScheduler`]'s decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The thread to run.
    pub thread: ThreadId,
    /// For how many ticks, rounded to the nearest that the engine's
    /// [`Preemption`](crate::Preemption) can measure. `None` for the thread's own slice or the
    /// store's.
    pub slice: Option<u64>,
}

/// Decides which ready guest thread of a store runs next, and for how long.
///
/// A thread is ready from [`spawned`](Self::spawned) or [`woken`](Self::woken) on. Once
/// [`next`](Self::next) has picked it, it is running until a method with `used` is called for
/// it.
///
/// All amounts are in ticks: nanoseconds where slices are time, and units of fuel where they are
/// fuel. `now` is the store's clock, which never goes back: the time since the store's first
/// guest thread, or the fuel that all its guest threads have consumed. If slices are fuel,
/// decisions based on these alone are the same on every machine. `used` is what the thread used
/// in this dispatch.
///
/// A panic unwinds out of the store's method that was called, and leaves the store as it is:
/// another scheduler can be set.
pub trait ThreadScheduler: Any + Send + Sync {
    /// `thread` is new and ready.
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams);

    /// The slice of `thread` is over: it is ready.
    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread` gave up the CPU by itself before its slice was over: it is ready.
    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread`, running or ready, is neither until it is woken.
    fn parked(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread` is ready again.
    fn woken(&mut self, now: u64, thread: ThreadId);

    /// The parameters of `thread` have changed, whatever its state.
    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams);

    /// `thread`, which was running, ready or parked, is gone.
    fn finished(&mut self, now: u64, thread: ThreadId, used: u64);

    /// Picks a ready thread. `None` if there is none.
    fn next(&mut self, now: u64) -> Option<Pick>;
}

/// The store's policy.
pub(super) enum Policy {
    RoundRobin(RoundRobin),
    /// The embedder's.
    Custom(Box<dyn ThreadScheduler>),
}

/// A queue of all ready threads. A thread that is no longer ready leaves its place behind for a
/// while. Places are numbered, and only the latest one given to a thread is valid.
#[derive(Default)]
pub(super) struct RoundRobin {
    places: VecDeque<(Place, ThreadId, Hint)>,
    last: Place,
}

/// How many threads there must be in the queue for the next one's memory to be fetched.
const FETCHED_FROM: usize = 64;

/// A place in the queue. Numbers are never reused; 0 means none.
pub(super) type Place = u64;

impl RoundRobin {
    #[cfg(debug_assertions)]
    pub(super) fn count_from(&mut self, start: Place) {
        self.last = self.last.max(start);
    }

    /// Puts `thread` in the last place.
    pub(super) fn push(&mut self, thread: ThreadId, hint: Hint) -> Place {
        self.last += 1;
        self.places.push_back((self.last, thread, hint));
        self.last
    }

    /// How many places there are, including stale ones of threads that are no longer ready.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn pop(&mut self) -> Option<(Place, ThreadId, Hint)> {
        self.places.pop_front()
    }

    /// Fetches what the next thread needs, if there are so many that the caches may have lost it.
    #[inline(always)]
    pub(super) fn fetch_next(&self) {
        if self.places.len() >= FETCHED_FROM
            && let Some((_, _, hint)) = self.places.front()
        {
            hint.fetch();
        }
    }

    /// The queue, starting with the thread whose turn it is.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, ThreadId)> {
        self.places
            .iter()
            .map(|(place, thread, _)| (*place, *thread))
    }

    /// Drops stale places once they are most of the queue.
    pub(super) fn sweep(&mut self, ready: usize, is_place: impl Fn(Place, ThreadId) -> bool) {
        if self.places.len() > 2 * ready + 64 {
            self.places
                .retain(|(place, thread, _)| is_place(*place, *thread));
        }
    }
}
