//! The slots of an engine's timer, by OS thread: when each run next wants its thread checked.
//!
//! A run adds its slot to the *shard* of its OS thread, and takes it out in the end. Only the
//! timer's OS thread takes the lock of a shard that is not its own, when it looks for the next
//! tick, and a fork. So runs of different OS threads write nothing that they share.
//!
//! Rejected: one list of slots. Its lock is written twice by each run, on all OS threads.

use super::attention::Attention;
use crate::prelude::*;
use crate::runtime::preempt::clock::NEVER;
use crate::runtime::preempt::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::ThreadId;

/// When a run next wants its thread checked, by a timer of type `T`. In cache lines of its own:
/// nearly every dispatch writes it.
#[repr(align(128))]
pub(in crate::runtime::preempt) struct Slot<T> {
    /// A moment in nanoseconds, [`NEVER`] if no tick is wanted, or `FIRED`.
    time: AtomicU64,
    /// That thread's attention.
    attention: Attention,
    /// Whether the epoch ticks, for compiled code to see.
    ticks: bool,
    /// The OS thread of the run.
    owner: ThreadId,
    shard: Arc<Shard<T>>,
}

/// The tick has come.
const FIRED: u64 = u64::MAX - 1;

impl<T> Slot<T> {
    pub(in crate::runtime::preempt) fn has_fired(&self) -> bool {
        self.time.load(Ordering::SeqCst) == FIRED
    }

    /// When the tick is due, or [`NEVER`] if none is.
    pub(super) fn pending(&self) -> u64 {
        match self.time.load(Ordering::SeqCst) {
            FIRED => NEVER,
            time => time,
        }
    }

    pub(super) fn set(&self, time: u64) {
        let time = if time == FIRED { time - 1 } else { time };
        self.time.store(time, Ordering::SeqCst);
    }

    /// Acts as if its time had come. The run does not end meanwhile.
    pub(super) fn fire(&self) {
        let _slots = self.shard.lock();
        self.fire_locked();
    }

    fn fire_locked(&self) {
        self.time.store(FIRED, Ordering::SeqCst);
        self.attention.raise();
    }

    pub(super) fn shard(&self) -> &Arc<Shard<T>> {
        &self.shard
    }
}

pub(super) type Slots<T> = Vec<Arc<Slot<T>>>;

/// The slots of an OS thread's runs. In cache lines of its own.
#[repr(align(128))]
pub(in crate::runtime::preempt) struct Shard<T> {
    slots: Mutex<Slots<T>>,
    /// Whose it is; `None` if it is for OS threads that have none.
    owner: Option<ThreadId>,
    timer: Weak<T>,
}

impl<T> Shard<T> {
    pub(super) fn new(timer: Weak<T>, owner: Option<ThreadId>) -> Arc<Shard<T>> {
        Arc::new(Shard {
            slots: Mutex::new(Vec::new()),
            owner,
            timer,
        })
    }

    /// The timer, unless its engine is gone. Comparing what this points to is always possible.
    pub(super) fn timer(&self) -> &Weak<T> {
        &self.timer
    }

    pub(super) fn owner(&self) -> Option<ThreadId> {
        self.owner
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        // Nothing here panics halfway through a change.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot for a run of this OS thread.
    pub(super) fn add(self: &Arc<Self>, attention: Attention, ticks: bool) -> Arc<Slot<T>> {
        let owner = self.owner.unwrap_or_else(|| std::thread::current().id());
        let slot = Arc::new(Slot {
            time: AtomicU64::new(NEVER),
            attention,
            ticks,
            owner,
            shard: self.clone(),
        });
        self.lock().push(slot.clone());
        slot
    }

    pub(super) fn remove(&self, slot: &Arc<Slot<T>>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// When the first tick is due, or [`NEVER`].
    pub(super) fn earliest(&self) -> u64 {
        let slots = self.lock();
        let times = slots.iter().map(|slot| slot.pending());
        times.min().unwrap_or(NEVER)
    }

    /// Fires the slots that are due. Returns whether the epoch has to tick.
    pub(super) fn fire_expired(&self, now: u64) -> bool {
        let mut ticks = false;
        for slot in self.lock().iter() {
            let time = slot.pending();
            let fired = time <= now
                && slot
                    .time
                    .compare_exchange(time, FIRED, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if fired {
                slot.attention.raise();
                ticks |= slot.ticks;
            }
        }
        ticks
    }
}

/// This process is a new one, in which there is only the OS thread `this`: the slices of its runs
/// are over, and those of others do not go on.
pub(super) fn forked<T>(slots: &mut Slots<T>, this: ThreadId) {
    slots.retain(|slot| slot.owner == this);
    slots.iter().for_each(|slot| slot.fire_locked());
}
