//! The ends of host functions and libcalls, where a slice may be over that could not end
//! before: the thread was in a guest that a host function has called (I1), or a signal has
//! come while it was in the host.
//!
//! A slice of fuel or epochs is *owed* then: the guest there goes on, and when the host
//! function returns to the thread's own code the next check of that is made to end the
//! slice, whatever clock or fuel say by then. The thread is not suspended at the return
//! itself: what the host function returns may be a reference, and is no root there. Where
//! there are no such references, under signals, it is.

use super::Suspension;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many reasons there are in this process to look at the ends of host calls. While
/// there are none, which is all that a store without guest threads is to pay for, such an
/// end is a load and a branch.
static REASONS: AtomicUsize = AtomicUsize::new(0);

/// A reason to look at the ends of host calls: a slice that is owed, or a run under
/// signals.
pub(super) struct Reason(());

impl Reason {
    pub(super) fn new() -> Reason {
        REASONS.fetch_add(1, Relaxed);
        Reason(())
    }
}

impl Drop for Reason {
    fn drop(&mut self) {
        REASONS.fetch_sub(1, Relaxed);
    }
}

/// The end of a host function or libcall that a guest has called.
///
/// # Safety
///
/// Nothing on the stack is left to be dropped between here and Wasm.
#[inline]
pub(crate) unsafe fn leave_host(store: &mut dyn VMStore) {
    if REASONS.load(Relaxed) != 0 {
        pay(store);
        // SAFETY: this function's own contract.
        unsafe { super::signal::leave_host(store) };
    }
}

/// The middle of a libcall that has called the embedder, while the guest thread's code may
/// have the fuel counter in a register: it is suspended right here.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook says so: the caller must unwind.
pub(crate) fn pay_in_libcall(store: &mut dyn VMStore) -> Result<()> {
    if store.running_thread().is_some_and(|r| r.owed.is_some())
        && let Some(context) = super::blocking::take(store)
    {
        super::preemptive_yield(store, context, Suspension::PREEMPTED)?;
    }
    Ok(())
}

/// Makes the next check of the thread's own code end a slice that is owed.
pub(super) fn pay(store: &mut dyn VMStore) {
    let store = store.store_opaque_mut();
    if store.running_thread().is_some_and(|r| r.owed.is_some()) && super::blocking::available(store)
    {
        store.end_epoch_slice();
        store.end_fuel_slice();
        if let Some(running) = store.running_thread_mut() {
            running.owed = None;
        }
    }
}
