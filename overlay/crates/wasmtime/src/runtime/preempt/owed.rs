//! Slices that are over, of threads that cannot be suspended yet: one is in a guest that
//! a host function has called (I1).
//!
//! The guest there goes on. When the host function returns to the thread's own code, the
//! next check of that is made to end the slice, whatever clock or fuel say by then. The
//! thread is not suspended at the return itself: what the host function returns may be a
//! reference, and is no root there.

use super::Suspension;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many slices are owed in this process. While there are none, the end of a host call
/// is a load and a branch.
static OWED: AtomicUsize = AtomicUsize::new(0);

/// A slice that is owed.
pub(super) struct Owed(());

impl Owed {
    pub(super) fn new() -> Owed {
        OWED.fetch_add(1, Relaxed);
        Owed(())
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        OWED.fetch_sub(1, Relaxed);
    }
}

/// The end of a host function or libcall that a guest has called.
#[inline]
pub(crate) fn leave_host(store: &mut dyn VMStore) {
    if OWED.load(Relaxed) != 0 {
        pay(store);
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

fn pay(store: &mut dyn VMStore) {
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
