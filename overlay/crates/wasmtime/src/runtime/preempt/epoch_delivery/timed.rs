//! Deadlines in time, of stores whose calls run on an OS thread, as its signal handler sees
//! them.
//!
//! The handler makes the epoch deadline of a store 0 whose time has come. Then all that looks
//! at epochs finds the deadline reached: the handler itself, entries, and returns from the host.
//!
//! I25: the handler may come between any two instructions of this OS thread's, which is the only
//! one to change the list and what is in it. So at each moment the list leads to all that is in
//! it, and to nothing that was taken out.

use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::source::signal::armed;
use crate::runtime::vm::VMStoreContext;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, compiler_fence};

/// A store's deadline in time.
pub(super) struct Timed {
    /// On the monotonic clock, in nanoseconds.
    time: AtomicU64,
    /// Whether it has come, and is to be handled.
    is_due: AtomicBool,
    context: NonNull<VMStoreContext>,
    next: AtomicPtr<Timed>,
}

impl Timed {
    pub(super) fn new(context: NonNull<VMStoreContext>) -> Timed {
        Timed {
            time: AtomicU64::new(NEVER),
            is_due: AtomicBool::new(false),
            context,
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Sets the time. The caller derives the store's epoch deadline next.
    pub(super) fn set(&self, time: u64) {
        self.time.store(NEVER, Relaxed);
        compiler_fence(SeqCst);
        self.is_due.store(false, Relaxed);
        compiler_fence(SeqCst);
        self.time.store(time, Relaxed);
    }

    /// The store's epoch deadline has been derived from the embedder's. If the time has come,
    /// perhaps in between, it is 0.
    pub(super) fn override_epoch_deadline(&self) {
        compiler_fence(SeqCst);
        if self.is_due.load(Relaxed) {
            // SAFETY: I25. The store is there, and this OS thread uses it.
            unsafe { self.context.as_ref().epoch_deadline.get().write(0) };
        }
    }

    /// Returns when it will be reached.
    fn look(&self, now: u64) -> u64 {
        let time = self.time.load(Relaxed);
        if time > now {
            return time;
        }
        self.is_due.store(true, Relaxed);
        self.override_epoch_deadline();
        self.time.store(NEVER, Relaxed);
        NEVER
    }
}

/// Those of an OS thread.
pub(super) struct List(AtomicPtr<Timed>);

impl List {
    pub(super) const fn new() -> List {
        List(AtomicPtr::new(ptr::null_mut()))
    }

    /// Forgets all of them, in a forked process in which their OS thread does not exist.
    pub(super) fn forget(&self) {
        self.0.store(ptr::null_mut(), Relaxed);
    }

    /// Adds a deadline.
    ///
    /// # Safety
    ///
    /// I25. It is in no list, is taken out before it is dropped, and this OS thread has the
    /// list.
    pub(super) unsafe fn push(&self, timed: &Timed) {
        timed.next.store(self.0.load(Relaxed), Relaxed);
        compiler_fence(SeqCst);
        self.0.store(ptr::from_ref(timed).cast_mut(), Relaxed);
    }

    /// Takes it out, if it is there.
    ///
    /// # Safety
    ///
    /// I25. This OS thread has the list.
    pub(super) unsafe fn remove(&self, timed: &Timed) {
        let mut link = &self.0;
        loop {
            // SAFETY: I25. What is in the list is there.
            let Some(next) = (unsafe { link.load(Relaxed).as_ref() }) else {
                return;
            };
            if ptr::eq(next, timed) {
                link.store(next.next.load(Relaxed), Relaxed);
                compiler_fence(SeqCst);
                return;
            }
            link = &next.next;
        }
    }

    /// Looks for those whose time has come, and sets the timer for the next. May be called by
    /// the handler.
    ///
    /// # Safety
    ///
    /// I25. This OS thread has the list.
    pub(super) unsafe fn look(&self) {
        loop {
            if self.0.load(Relaxed).is_null() {
                return;
            }
            let now = Moment::now().as_nanos();
            // SAFETY: this function's own contract.
            let next = unsafe { self.earliest(|timed| timed.look(now)) };
            if next == NEVER {
                return;
            }
            armed::arm_by(next);
            compiler_fence(SeqCst);
            // The handler may have come in between, and have set the timer for an earlier one,
            // as in `Watch::arm`.
            // SAFETY: as above.
            if unsafe { self.earliest(|timed| timed.time.load(Relaxed)) } >= next {
                return;
            }
        }
    }

    /// # Safety
    ///
    /// I25. This OS thread has the list.
    unsafe fn earliest(&self, look: impl Fn(&Timed) -> u64) -> u64 {
        let mut link = &self.0;
        let mut earliest = NEVER;
        // SAFETY: I25. What is in the list is there.
        while let Some(timed) = unsafe { link.load(Relaxed).as_ref() } {
            earliest = earliest.min(look(timed));
            link = &timed.next;
        }
        earliest
    }
}
