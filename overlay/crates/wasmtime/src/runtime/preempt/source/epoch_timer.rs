//! An engine's timer: one OS thread that advances the epoch when a slice is over.
//!
//! Every run has a [`Slot`] with the time of its next tick, in `slots.rs`. The thread sleeps until
//! the earliest, or indefinitely if all say [`NEVER`]. Nearly every dispatch postpones its
//! slot's time, which is one atomic store: the thread wakes at the old time, sees the new one
//! and goes back to sleep. Only a time earlier than the thread's wake-up time costs an extra
//! wake-up.
//!
//! A tick marks its slots as fired and then advances the epoch, in this order: see
//! [`EpochTimer::deadline`].
//!
//! A process that is forked from this one has no such thread. There, all slices are over: the
//! next slot that is armed starts a thread.
//!
//! Rejected: ticking at a fixed rate. It wakes an idle machine, and a slice that starts
//! between two ticks is too short or too long by up to a period.

use super::attention::Attention;
use super::slots::{self, Shard, Slots};
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::contention::shared_write;
use crate::runtime::preempt::fork::{self, AcrossFork, After, Side};
use crate::runtime::preempt::sync::thread::{self, JoinHandle};
use crate::runtime::preempt::sync::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, thread_local,
};
use core::cell::RefCell;
use core::mem;
use core::ops::Deref;
use core::time::Duration;
use std::sync::{Arc, PoisonError, Weak};
use std::thread::ThreadId;

/// `new_epoch` returns the deadline, where `u64::MAX` means a trap.
pub(super) const NO_DEADLINE: u64 = u64::MAX - 1;

/// When a run next wants its thread checked.
pub(in crate::runtime::preempt) type Slot = slots::Slot<Shared>;

thread_local! {
    /// This OS thread's shards, one for each engine whose guests it has run.
    static SHARDS: Own = const { Own(RefCell::new(Vec::new())) };
}

/// Taken out of their timers when the OS thread ends.
struct Own(RefCell<Vec<Arc<Shard<Shared>>>>);

impl Drop for Own {
    fn drop(&mut self) {
        for shard in self.0.take() {
            if let Some(timer) = shard.timer().upgrade() {
                timer
                    .lock()
                    .shards
                    .retain(|other| !Arc::ptr_eq(other, &shard));
            }
        }
    }
}

/// An engine's epoch, and its timer. The first run starts the timer's thread, and dropping the
/// engine joins it.
pub(crate) struct EpochTimer {
    shared: Arc<Shared>,
}

pub(in crate::runtime::preempt) struct Shared {
    /// The engine's epoch, checked by compiled code.
    epoch: Arc<AtomicU64>,
    /// When the thread wakes up. Written under the lock of `state`.
    asleep_until: AtomicU64,
    /// The timer's own part of the epoch. Written under the lock of `state`.
    ticks: AtomicU64,
    /// Whether the thread was started. Written under the lock of `state`.
    started: AtomicBool,
    /// For OS threads that are ending, and have no thread-locals any more.
    common: Arc<Shard<Shared>>,
    state: Mutex<State>,
    wake: Condvar,
}

/// Its lock is taken before those of shards.
struct State {
    shards: Vec<Arc<Shard<Shared>>>,
    thread: Option<JoinHandle<()>>,
    stop: bool,
}

impl EpochTimer {
    pub(crate) fn new(epoch: u64) -> EpochTimer {
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let common = Shard::new(shared.clone(), None);
            Shared {
                epoch: Arc::new(AtomicU64::new(epoch)),
                asleep_until: AtomicU64::new(NEVER),
                ticks: AtomicU64::new(0),
                started: AtomicBool::new(false),
                state: Mutex::new(State {
                    shards: vec![common.clone()],
                    thread: None,
                    stop: false,
                }),
                common,
                wake: Condvar::new(),
            }
        });
        fork::register(&shared);
        EpochTimer { shared }
    }

    /// The epoch that compiled code checks, to be kept for longer than the engine.
    pub(in crate::runtime::preempt) fn shared(&self) -> Arc<AtomicU64> {
        self.shared.epoch.clone()
    }

    pub(in crate::runtime::preempt) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }

    /// The epoch and the timer's part of it, read atomically.
    pub(in crate::runtime::preempt) fn epoch_and_ticks(&self) -> (u64, u64) {
        let epoch = self.epoch();
        // A tick is counted first. So if none was counted by now, none is in `epoch`.
        if self.shared.ticks.load(Ordering::SeqCst) == 0 {
            return (epoch, 0);
        }
        let _state = self.shared.lock();
        (self.epoch(), self.shared.ticks.load(Ordering::SeqCst))
    }

    /// Adds a slot for a run of this OS thread, and starts the timer's thread if there is none. If
    /// the slot `ticks`, the epoch advances when its time comes.
    ///
    /// # Errors
    ///
    /// If the OS refuses to create the thread.
    pub(in crate::runtime::preempt) fn register(
        &self,
        attention: Attention,
        ticks: bool,
    ) -> Result<Arc<Slot>> {
        if !self.shared.started.load(Ordering::Acquire) {
            self.ensure_thread(&mut self.shared.lock())?;
        }
        Ok(self.shared.own_shard().add(attention, ticks))
    }

    fn ensure_thread(&self, state: &mut State) -> Result<()> {
        if state.thread.is_none() {
            let shared = self.shared.clone();
            let thread = thread::Builder::new()
                .name("wasmtime-epoch-timer".into())
                .spawn(move || shared.run())
                .context("cannot start the timer thread that ends slices")?;
            state.thread = Some(thread);
            self.shared.started.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(in crate::runtime::preempt) fn unregister(&self, slot: &Arc<Slot>) {
        slot.shard().remove(slot);
    }

    pub(in crate::runtime::preempt) fn slice_ender(&self, slot: &Arc<Slot>) -> SliceEnder {
        SliceEnder(slot.clone())
    }

    /// Ends the slice of `slot` now. Takes a tick, as loops compare the epoch with a deadline
    /// that they have already read.
    pub(in crate::runtime::preempt) fn end_now(&self, slot: &Slot) {
        self.shared.end_now(slot);
    }

    /// Like [`arm`](Self::arm), but never postpones the tick.
    #[inline]
    pub(in crate::runtime::preempt) fn arm_by(&self, slot: &Slot, time: u64) -> Result<()> {
        match time < slot.pending() {
            true => self.arm(slot, time),
            false => Ok(()),
        }
    }

    /// Like [`arm`](Self::arm), for a slice that other OS threads may end: they set what
    /// `is_ended` reads, and then fire the slot, which this may overwrite.
    pub(in crate::runtime::preempt) fn arm_unless_ended(
        &self,
        slot: &Slot,
        time: u64,
        is_ended: impl FnOnce() -> bool,
    ) -> Result<()> {
        self.arm(slot, time)?;
        if is_ended() {
            self.end_now(slot);
        }
        Ok(())
    }

    /// The deadline for compiled code: `embedder`, which is in the embedder's epoch, or the end
    /// of the running thread's slice, of which `is_over` says whether it has come.
    ///
    /// The epoch is read before the slot, and a tick fires the slot before it advances the
    /// epoch. So the end of a slice is seen in the slot, or else the epoch has yet to reach the
    /// deadline.
    pub(in crate::runtime::preempt) fn deadline(
        &self,
        embedder: Option<u64>,
        is_over: Option<impl FnOnce() -> bool>,
    ) -> u64 {
        let (epoch, embedder) = match embedder {
            None => (self.epoch(), NO_DEADLINE),
            Some(deadline) => {
                let (epoch, ticks) = self.epoch_and_ticks();
                (epoch, deadline.saturating_add(ticks).min(NO_DEADLINE))
            }
        };
        let slice = match is_over {
            Some(is_over) => epoch + u64::from(!is_over()),
            None => NO_DEADLINE,
        };
        embedder.min(slice)
    }

    /// Asks for a tick at `time`, replacing the slot's previous time.
    ///
    /// # Errors
    ///
    /// If this process was forked, and the OS refuses to create the timer's thread.
    pub(in crate::runtime::preempt) fn arm(&self, slot: &Slot, time: u64) -> Result<()> {
        slot.set(time);
        if time < self.shared.asleep_until.load(Ordering::SeqCst) {
            // If the lock is held, it is by the thread, which looks once more before it
            // sleeps. Otherwise the thread is asleep already.
            let mut state = self.shared.lock();
            self.ensure_thread(&mut state)?;
            drop(state);
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

/// Ends a slot's slice.
pub(in crate::runtime::preempt) struct SliceEnder(Arc<Slot>);

impl SliceEnder {
    /// Acts as if the slot's time had come.
    pub(in crate::runtime::preempt) fn end_now(&self) {
        // Only now, so that making one of these writes nothing that OS threads share.
        if let Some(timer) = self.0.shard().timer().upgrade() {
            timer.end_now(&self.0);
        }
    }
}

/// The epoch that compiled code checks.
impl Deref for EpochTimer {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.shared.epoch
    }
}

impl Drop for EpochTimer {
    fn drop(&mut self) {
        let thread = {
            let mut state = self.shared.lock();
            state.stop = true;
            state.thread.take()
        };
        self.shared.wake.notify_one();
        if let Some(thread) = thread {
            // It does not panic, and if it did there would be nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        shared_write();
        // Nothing here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_now(&self, slot: &Slot) {
        slot.fire();
        self.tick(&self.lock());
    }

    /// With the lock.
    fn tick(&self, _: &State) {
        self.ticks.fetch_add(1, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The thread's main loop.
    fn run(&self) {
        ask_for_low_latency();
        let mut state = self.lock();
        while !state.stop {
            let next = self.announce(&state);
            let now = Moment::now().as_nanos();
            if next <= now {
                self.end_expired(&state, now);
                continue;
            }
            state = if next == NEVER {
                self.wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                let time = Duration::from_nanos(next - now);
                self.wake
                    .wait_timeout(state, time)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
        }
    }

    /// Finds the time of the next tick, and announces it in `asleep_until`.
    fn announce(&self, state: &State) -> u64 {
        let earliest = || {
            let times = state.shards.iter().map(|shard| shard.earliest());
            times.min().unwrap_or(NEVER)
        };
        loop {
            let next = earliest();
            self.asleep_until.store(next, Ordering::SeqCst);
            // A slot armed before the store above did not see it.
            if earliest() >= next {
                return next;
            }
        }
    }

    /// Ends the expired slices.
    fn end_expired(&self, state: &State, now: u64) {
        let mut ticks = false;
        for shard in &state.shards {
            ticks |= shard.fire_expired(now);
        }
        if ticks {
            self.tick(state);
        }
    }

    /// This process is a new one. Of its threads, only the one that forked it is here.
    fn forked(&self, state: &mut State, shards: &mut [MutexGuard<'_, Slots<Shared>>]) {
        // It must not be joined or detached: there is no such thread.
        mem::forget(state.thread.take());
        self.started.store(false, Ordering::Release);
        self.asleep_until.store(NEVER, Ordering::SeqCst);
        let this = std::thread::current().id();
        shards
            .iter_mut()
            .for_each(|slots| slots::forked(slots, this));
        self.tick(state);
    }

    /// The shard of this OS thread, added on first use.
    fn own_shard(self: &Arc<Self>) -> Arc<Shard<Shared>> {
        let of_this = |own: &Own| {
            let mut shards = own.0.borrow_mut();
            let is_it = |shard: &&Arc<Shard<Shared>>| shard.timer().as_ptr() == Arc::as_ptr(self);
            if let Some(shard) = shards.iter().find(is_it) {
                return shard.clone();
            }
            shards.retain(|shard| shard.timer().strong_count() > 0);
            let owner = std::thread::current().id();
            let shard = Shard::new(Arc::downgrade(self), Some(owner));
            self.lock().shards.push(shard.clone());
            shards.push(shard.clone());
            shard
        };
        SHARDS
            .try_with(of_this)
            .unwrap_or_else(|_| self.common.clone())
    }
}

/// Locked for a fork. Dropped in this order.
struct Locked {
    /// Of all of the state's shards, in their order.
    shards: Vec<MutexGuard<'static, Slots<Shared>>>,
    state: MutexGuard<'static, State>,
    shared: Arc<Shared>,
}

impl AcrossFork for Shared {
    fn before(self: Arc<Self>) -> After {
        // SAFETY: I24. The lock is part of what `shared` keeps, which is dropped after the
        // guard.
        let state = unsafe {
            mem::transmute::<MutexGuard<'_, State>, MutexGuard<'static, State>>(self.lock())
        };
        let lock = |shard: &Arc<Shard<Shared>>| {
            // SAFETY: I24. The lock is part of what the state keeps, which nobody changes before
            // the guard is dropped.
            unsafe {
                mem::transmute::<MutexGuard<'_, Slots<Shared>>, MutexGuard<'static, Slots<Shared>>>(
                    shard.lock(),
                )
            }
        };
        let locked = Locked {
            shards: state.shards.iter().map(lock).collect(),
            state,
            shared: self,
        };
        Box::new(move |side| {
            let mut locked = locked;
            if side == Side::Child {
                locked.shared.forked(&mut locked.state, &mut locked.shards);
                locked.shards.clear();
                let this = std::thread::current().id();
                let is_left = |owner: ThreadId| owner == this;
                let shards = &mut locked.state.shards;
                shards.retain(|shard| shard.owner().is_none_or(is_left));
            }
        })
    }
}

/// Asks to be scheduled soon after waking on a busy machine, in exchange for shorter turns,
/// which this OS thread hardly needs. Kernels without support (Linux before 6.12) ignore it.
#[cfg(target_os = "linux")]
fn ask_for_low_latency() {
    const SHORTEST_TURN: u64 = 100_000;

    #[repr(C)]
    #[derive(Default)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = SchedAttr {
        size: 48,
        runtime: SHORTEST_TURN,
        ..SchedAttr::default()
    };
    // SAFETY: `attr` is what the system call reads, of the size that it says.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_low_latency() {}
