//! Which runnable guest thread comes next, and for how long.
//!
//! The mechanism (`threads.rs`, `run.rs`) knows by itself which threads are
//! ready, and tells a policy of every change. What a policy answers is checked
//! before it is acted upon: one that picks a thread which is not ready, or none
//! while some are, is an error of the run, and no thread is lost.
//!
//! Without a policy of the embedder's it is round robin: a thread that was
//! preempted goes to the back, as does a new one, so between two dispatches of a
//! thread every other runnable thread is dispatched at most once more.

use super::id::ThreadId;
use crate::prelude::*;
use core::any::Any;
use std::collections::VecDeque;

/// What a [`ThreadScheduler`] is told about a guest thread.
///
/// The store carries these and does not look at them: which of them mean anything,
/// and what, is up to the scheduler. Set with the methods of the same names of
/// [`ThreadOptions`](crate::ThreadOptions), and later with
/// [`ThreadId::set_params`](crate::ThreadId::set_params).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadParams {
    /// Its share of the CPU relative to others'. At least 1, which is the default.
    pub weight: u32,
    /// Those with a higher one go first. 0 by default.
    pub priority: i32,
    /// The group that it is of. 0, the default, for none.
    pub group: u64,
    /// How soon it should be done after it was spawned or woken, in ticks.
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

/// What a [`ThreadScheduler`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The thread to run.
    pub thread: ThreadId,
    /// For how many ticks; the nearest that the engine's
    /// [`Preemption`](crate::Preemption) can measure is taken. `None` for the
    /// thread's own slice or the store's.
    pub slice: Option<u64>,
}

/// Decides which ready guest thread of a store runs next, and for how long.
///
/// A thread is ready from [`spawned`](Self::spawned) or [`woken`](Self::woken) on.
/// When [`next`](Self::next) has picked it, it is running until one of the methods
/// with `used` is called for it.
///
/// All amounts are in ticks: nanoseconds where slices are time, and units of fuel
/// where they are fuel. `now` is the store's clock, which never goes back: the time
/// since it got its first guest thread, or the fuel that all its guest threads have
/// consumed. So decisions that are made of these alone are the same on every machine
/// if slices are fuel. `used` is what the thread used in this dispatch.
///
/// A panic unwinds out of the method of the store that was called, and leaves the
/// store as it is: another scheduler can be set.
pub trait ThreadScheduler: Any + Send + Sync {
    /// `thread` is new, and ready.
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams);

    /// The slice of `thread` is over: it is ready.
    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread` gave the CPU up by itself before its slice was over: it is ready.
    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread`, running or ready, is neither until it is woken.
    fn parked(&mut self, now: u64, thread: ThreadId, used: u64);

    /// `thread` is ready again.
    fn woken(&mut self, now: u64, thread: ThreadId);

    /// The parameters of `thread` have changed, whatever it is doing.
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

/// A queue in which every ready thread stands. The place of one that is no longer
/// ready stays for a while: each place has a number, and only the latest that a thread
/// was given is one.
#[derive(Default)]
pub(super) struct RoundRobin {
    places: VecDeque<(Place, ThreadId)>,
    last: Place,
}

/// A place in the queue. Numbers are not used again; 0 is none.
pub(super) type Place = u64;

impl RoundRobin {
    /// The last place, for `thread`.
    pub(super) fn push(&mut self, thread: ThreadId) -> Place {
        self.last += 1;
        self.places.push_back((self.last, thread));
        self.last
    }

    /// How many places there are, those of threads that are no longer ready among them.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn pop(&mut self) -> Option<(Place, ThreadId)> {
        self.places.pop_front()
    }

    /// The queue, first the thread whose turn it is.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, ThreadId)> {
        self.places.iter().copied()
    }

    /// Drops places that are none, once they are most of the queue.
    pub(super) fn sweep(&mut self, ready: usize, is_place: impl Fn(Place, ThreadId) -> bool) {
        if self.places.len() > 2 * ready + 64 {
            self.places
                .retain(|(place, thread)| is_place(*place, *thread));
        }
    }
}
