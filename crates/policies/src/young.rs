//! New threads first, for a while.

use crate::table::{State, Table, shrink_set};
use std::collections::{BTreeSet, HashSet};
use wasmtime::ThreadId;
use wasmtime::preempt::{Pick, ThreadParams, ThreadScheduler};

/// Runs new threads first, and leaves the others to another policy.
///
/// A thread is new until it has used its *allowance*. So work that is short does not wait for
/// work that is long: what a server does for most requests is done before what it does for a few.
/// New threads take turns among themselves, and new ones that wake up do, too.
///
/// What holds, if no thread uses more than `u` ticks in one dispatch:
///
/// - while an older thread is runnable, new threads together use at most
///   `allowance + u` more than older ones do: half of the machine;
/// - while new threads have used less than that, one that is runnable waits for other new ones
///   only, and for the thread that is running.
///
/// A yield uses up at least a sixteenth of the allowance, and any other dispatch at least one tick. With an allowance of 0 no thread is new, and the other policy decides alone. It is told of
/// a thread once that is no longer new. Its shares are then those of the older threads: whoever
/// spawns threads without end gets half of the machine, whatever the weights are.
///
/// Cost: O(log n) in the number of new threads, and the other policy's.
///
/// This is the first step of a multilevel feedback queue (Corbató et al. 1962).
#[derive(Clone, Debug)]
pub struct YoungFirst<P> {
    others: P,
    allowance: u64,
    /// The new threads.
    young: Table<Young>,
    old: HashSet<ThreadId>,
    /// The new ones that are runnable, by turn.
    ready: BTreeSet<(u64, ThreadId)>,
    turns: u64,
    /// How much more new threads have used than older ones, while there were any.
    ahead: u64,
}

#[derive(Clone, Debug)]
struct Young {
    params: ThreadParams,
    used: u64,
    turn: u64,
}

impl<P: ThreadScheduler> YoungFirst<P> {
    /// A thread is new for `allowance` ticks. `others` decides about older ones, and has no thread
    /// yet.
    #[must_use]
    pub fn new(others: P, allowance: u64) -> Self {
        YoungFirst {
            others,
            allowance,
            young: Table::default(),
            old: HashSet::new(),
            ready: BTreeSet::new(),
            turns: 0,
            ahead: 0,
        }
    }

    /// A new thread is runnable: it waits for its turn, or is new no more.
    fn enqueue(&mut self, now: u64, thread: ThreadId) {
        let Some((_, young)) = self.young.get_mut(thread) else {
            return;
        };
        if young.used < self.allowance {
            young.turn = self.turns;
            self.ready.insert((self.turns, thread));
            self.turns += 1;
        } else if let Some((_, young)) = self.young.finish(thread) {
            self.old.insert(thread);
            self.others.spawned(now, thread, &young.params);
        }
    }

    /// Charges a new thread, which was running, at least `least`.
    fn charge(&mut self, thread: ThreadId, used: u64, least: u64) {
        if let Some((_, young)) = self.young.get_mut(thread) {
            young.used = young.used.saturating_add(used.max(least));
            self.get_ahead(used);
        }
    }

    /// New threads have used so much.
    fn get_ahead(&mut self, used: u64) {
        if !self.old.is_empty() {
            self.ahead = self.ahead.saturating_add(used.max(1));
        }
    }

    fn give_back(&mut self, now: u64, thread: ThreadId, used: u64, least: u64) {
        if self.young.give_back(thread).is_some() {
            self.charge(thread, used, least);
            self.enqueue(now, thread);
        }
    }

    /// Whether `thread` is an older one, which has used `used` ticks.
    fn is_old(&mut self, thread: ThreadId, used: u64) -> bool {
        let is_old = self.old.contains(&thread);
        if is_old {
            self.ahead = self.ahead.saturating_sub(used);
        }
        is_old
    }
}

impl<P: ThreadScheduler> ThreadScheduler for YoungFirst<P> {
    fn spawned(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        let new = || Young {
            params: params.clone(),
            used: 0,
            turn: 0,
        };
        if !self.old.contains(&thread) && self.young.spawn(thread, new).is_some() {
            self.enqueue(now, thread);
        }
    }

    fn preempted(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_old(thread, used) {
            true => self.others.preempted(now, thread, used),
            false => self.give_back(now, thread, used, 1),
        }
    }

    fn yielded(&mut self, now: u64, thread: ThreadId, used: u64) {
        match self.is_old(thread, used) {
            true => self.others.yielded(now, thread, used),
            false => self.give_back(now, thread, used, (self.allowance / 16).max(1)),
        }
    }

    fn parked(&mut self, now: u64, thread: ThreadId, used: u64) {
        if self.is_old(thread, used) {
            self.others.parked(now, thread, used);
        } else if let Some((was, young)) = self.young.park(thread) {
            let turn = young.turn;
            match was {
                State::Ready => drop(self.ready.remove(&(turn, thread))),
                State::Running | State::Parked => self.charge(thread, used, 1),
            }
        }
    }

    fn woken(&mut self, now: u64, thread: ThreadId) {
        if self.is_old(thread, 0) {
            self.others.woken(now, thread);
        } else if self.young.wake(thread).is_some() {
            self.enqueue(now, thread);
        }
    }

    fn changed(&mut self, now: u64, thread: ThreadId, params: &ThreadParams) {
        if self.is_old(thread, 0) {
            self.others.changed(now, thread, params);
        } else if let Some((_, young)) = self.young.get_mut(thread) {
            young.params = params.clone();
        }
    }

    fn finished(&mut self, now: u64, thread: ThreadId, used: u64) {
        if self.is_old(thread, used) {
            self.old.remove(&thread);
            shrink_set(&mut self.old);
            self.others.finished(now, thread, used);
        } else if let Some((was, young)) = self.young.finish(thread) {
            match was {
                State::Ready => drop(self.ready.remove(&(young.turn, thread))),
                State::Running => self.get_ahead(used),
                State::Parked => {}
            }
        }
    }

    fn next(&mut self, now: u64) -> Option<Pick> {
        // Older ones have their turn, if there are any.
        if self.ready.is_empty() || self.ahead > self.allowance {
            if let Some(pick) = self.others.next(now) {
                return Some(pick);
            }
            // Nobody was behind.
            self.ahead = 0;
        }
        let (_, thread) = self.ready.pop_first()?;
        self.young.run(thread);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}
