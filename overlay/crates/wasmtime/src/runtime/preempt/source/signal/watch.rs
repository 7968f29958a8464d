//! What the signal handler reads while a guest thread is on the CPU.

use super::armed;
use super::code::Code;
use crate::runtime::preempt::clock::NEVER;
use crate::runtime::preempt::source::attention::Attention;
use crate::runtime::preempt::sync::{AtomicBool, AtomicU64};
use crate::runtime::vm::VMStore;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicPtr, compiler_fence};

/// What the handler reads while a guest thread is on the CPU. Part of its `Dispatch`.
pub(in crate::runtime::preempt) struct Watch {
    /// When its slice is over, on the monotonic clock in nanoseconds.
    pub(super) slice_end: AtomicU64,
    /// The code that may be preempted.
    pub(super) code: AtomicPtr<Code>,
    pub(super) store: Option<NonNull<dyn VMStore>>,
    /// Raised if the slice is over while the thread is in the host.
    pub(super) attention: Option<Attention>,
    /// Set by other OS threads that ask for the end of the slice.
    pub(super) slice_end_requested: Option<NonNull<AtomicBool>>,
    /// How soon to retry if it cannot be preempted.
    pub(super) retry: AtomicU64,
}

/// On the monotonic clock.
const LONG_AGO: u64 = 1;

/// How soon to retry after a guest could not be preempted, in nanoseconds. The next time in the
/// same slice it is twice as long: on slow machines a signal may take as long as this, and a guest
/// that is on a long way through the host, or through code that polls, would get nowhere.
pub(in crate::runtime::preempt) const RETRY: u64 = 50_000;

/// The longest that it gets.
const LONGEST_RETRY: u64 = 10_000_000;

impl Watch {
    pub(in crate::runtime::preempt) fn none() -> Watch {
        Watch {
            slice_end: AtomicU64::new(NEVER),
            code: AtomicPtr::new(ptr::null_mut()),
            store: None,
            attention: None,
            slice_end_requested: None,
            retry: AtomicU64::new(RETRY),
        }
    }

    /// How soon to retry after this failure to preempt the guest, in nanoseconds.
    pub(super) fn next_retry(&self) -> u64 {
        let retry = self.retry.load(Relaxed);
        self.retry.store((retry * 2).min(LONGEST_RETRY), Relaxed);
        retry
    }

    /// Makes the signal come a little later than `now`, if it does not come soon anyway.
    pub(super) fn retry_later(&self, now: u64) {
        if !armed::is_armed_by(now.saturating_add(LONGEST_RETRY)) {
            armed::arm_by(now.saturating_add(self.next_retry()));
        }
    }

    /// Ends the slice if another OS thread has asked for that. Returns whether one has.
    pub(in crate::runtime::preempt) fn take_slice_end_request(&self) -> bool {
        // SAFETY: I5. The flag is kept by the store that is dispatched.
        let flag = self
            .slice_end_requested
            .map(|flag| unsafe { flag.as_ref() });
        let requested = flag.is_some_and(|flag| flag.swap(false, Relaxed));
        if requested {
            self.slice_end.store(LONG_AGO, Relaxed);
        }
        requested
    }

    /// Ends the slice where the guest returns from the host.
    pub(in crate::runtime::preempt) fn end_in_host(&self) {
        if let Some(attention) = &self.attention {
            self.slice_end.store(LONG_AGO, Relaxed);
            attention.raise();
        }
    }

    /// When to preempt next.
    pub(in crate::runtime::preempt) fn slice_end(&self) -> u64 {
        self.slice_end.load(Relaxed)
    }

    pub(super) fn bring_slice_end_to(&self, end: u64) {
        self.slice_end.fetch_min(end, Relaxed);
        self.arm();
    }

    /// Arms the timer in time for this watch, which is now the current one.
    #[inline]
    pub(in crate::runtime::preempt) fn arm(&self) {
        if self.slice_end() == NEVER {
            return;
        }
        loop {
            let end = self.slice_end();
            armed::arm_by(end);
            compiler_fence(SeqCst);
            // If the handler came between these two lines, it may have moved `slice_end` to an
            // earlier time and set the timer for that, and then `arm_by` has set the timer for
            // the later `end`.
            if self.slice_end() == end {
                return;
            }
        }
    }

    /// The OS thread's signal has come, early, late or in time (I7). If the slice is over, ends
    /// it with `preempt`, or sees to it that it ends soon.
    pub(super) fn on_signal(
        &self,
        now: u64,
        preempt: impl FnOnce() -> bool,
        is_in_host: impl FnOnce() -> bool,
    ) {
        let end = self.slice_end();
        if end == NEVER {
            return;
        }
        if now < end {
            armed::arm_by(end);
            return;
        }
        if preempt() {
            return;
        }
        if let Some(attention) = &self.attention {
            attention.raise();
        }
        // The end of a host call checks. A function that may hold references polls, but may have
        // returned to one that does not by then. Anything else takes a few instructions.
        if !is_in_host() {
            self.retry_later(now);
        }
    }
}
