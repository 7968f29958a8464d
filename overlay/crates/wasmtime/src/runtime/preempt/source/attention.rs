//! The word of a store that tells whether a check is needed when a host call ends.
//!
//! Comparing it with the fuel counter, another word of the `VMStoreContext`, is that check:
//!
//! | value | when | the comparison is true |
//! |---|---|---|
//! | [`NOTHING`] | fuel is not counted, or no guest thread has run | never |
//! | [`OUT_OF_FUEL`] | a guest thread has run, and fuel is counted | once the injected fuel is used up, by the guest's code or as the host has charged it |
//! | [`LOOK`] | it was [raised](Attention::raise) | always |
//!
//! Everything that ends a slice raises it: the signal handler, the timer's OS thread, an OS
//! thread that asks for a thread's end, a check in a guest called by a host function (I1). It
//! only says that something may be due. What is due is in other state, which is changed before
//! the word is raised. So the guest's OS thread first [rests](Attention::rest) the word and then
//! looks at that state: whatever comes later raises the word again.
//!
//! Rejected: a thread-local or a process-wide counter of reasons to check. The former is a
//! call, the latter makes each store pay for the others.

use crate::runtime::preempt::sync::{AtomicI64, Ordering};
use core::ptr::NonNull;

/// No check is needed, whatever the fuel counter is.
pub(super) const NOTHING: i64 = i64::MAX;

/// A check is needed once the fuel counter is no longer negative.
pub(super) const OUT_OF_FUEL: i64 = 0;

/// A check is needed.
const LOOK: i64 = i64::MIN;

/// A store's `VMStoreContext::attention`, for code that has the store or, by I19, must not
/// have it.
#[derive(Clone, Copy)]
pub(in crate::runtime::preempt) struct Attention(NonNull<AtomicI64>);

// SAFETY: I19. It is an atomic, and whoever uses it on another OS thread holds the lock that
// the end of the run takes before the store can go.
unsafe impl Send for Attention {}
// SAFETY: as above.
unsafe impl Sync for Attention {}

impl Attention {
    /// # Safety
    ///
    /// I19. `word` is there for as long as this is used.
    #[inline]
    pub(super) unsafe fn new(word: NonNull<AtomicI64>) -> Attention {
        Attention(word)
    }

    fn word(&self) -> &AtomicI64 {
        // SAFETY: I19.
        unsafe { self.0.as_ref() }
    }

    /// Makes the guest check on its return from the host. May be called by a signal handler.
    pub(in crate::runtime::preempt) fn raise(&self) {
        self.word().store(LOOK, Ordering::SeqCst);
    }

    /// Whether only the use of fuel raises it.
    #[inline]
    pub(super) fn waits_for_fuel(&self) -> bool {
        self.word().load(Ordering::Relaxed) == OUT_OF_FUEL
    }

    /// Whether a check is needed at this value of the fuel counter.
    #[inline]
    pub(super) fn is_due(&self, fuel: i64) -> bool {
        fuel >= self.word().load(Ordering::Relaxed)
    }

    pub(super) fn rest(&self, value: i64) {
        self.word().store(value, Ordering::SeqCst);
    }
}
