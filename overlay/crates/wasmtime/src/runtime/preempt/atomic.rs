//! `memory.atomic.wait` in a guest thread: parks the guest thread, not the OS thread.
//!
//! The thread joins the same queue as OS threads that wait for the atomic. So a notification
//! from a sibling, another store or the embedder wakes them all in order of arrival.

use super::park::{self, Park};
use crate::prelude::*;
use crate::runtime::vm::parking_spot::Waiter;
use crate::runtime::vm::{SharedMemory, VMStore, WaitResult};
use crate::store::InstanceId;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::task::Waker;
use core::time::Duration;
use wasmtime_environ::DefinedMemoryIndex;

/// The value of an atomic that makes a thread wait.
pub(crate) trait Expected: Copy {
    const SIZE: u64;

    /// # Safety
    ///
    /// `atomic` must point to an atomic of this type that is alive.
    unsafe fn is_in(self, atomic: *mut u8) -> bool;
}

impl Expected for u32 {
    const SIZE: u64 = 4;

    unsafe fn is_in(self, atomic: *mut u8) -> bool {
        // SAFETY: this function's own contract.
        let atomic = unsafe { AtomicU32::from_ptr(atomic.cast()) };
        atomic.load(Ordering::SeqCst) == self.to_le()
    }
}

impl Expected for u64 {
    const SIZE: u64 = 8;

    unsafe fn is_in(self, atomic: *mut u8) -> bool {
        // SAFETY: this function's own contract.
        let atomic = unsafe { AtomicU64::from_ptr(atomic.cast()) };
        atomic.load(Ordering::SeqCst) == self.to_le()
    }
}

/// A guest thread in the queue of an atomic.
struct Queued {
    memory: SharedMemory,
    key: u64,
    waiter: Waiter,
    /// Set while it is in the queue, and after a notification took it out.
    queued: bool,
}

impl Queued {
    fn enter(&mut self, is_expected: impl FnOnce() -> bool, waker: Waker) -> bool {
        // SAFETY: I14. `leave` is called before the waiter goes, by `drop`.
        self.queued = unsafe {
            let spot = self.memory.parking_spot();
            spot.enqueue(self.key, is_expected, &mut self.waiter, waker)
        };
        self.queued
    }

    fn was_notified(&self) -> bool {
        self.memory.parking_spot().was_notified(&self.waiter)
    }

    /// Returns whether it was notified.
    fn leave(&mut self) -> bool {
        if !core::mem::take(&mut self.queued) {
            return false;
        }
        let spot = self.memory.parking_spot();
        // SAFETY: I14. It was enqueued with this key, and `queued` says that it was not
        // dequeued.
        unsafe { spot.dequeue(self.key, &mut self.waiter) }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The guest-thread part of the libcalls `memory_atomic_wait32` and `memory_atomic_wait64`.
/// `None` if this is not a guest thread, or the memory is not shared.
pub(crate) fn wait<E: Expected>(
    store: &mut dyn VMStore,
    instance: InstanceId,
    memory: DefinedMemoryIndex,
    address: u64,
    expected: E,
    timeout: Option<Duration>,
) -> Result<Option<WaitResult>> {
    let Some(waker) = park::fresh_waker(store) else {
        return Ok(None);
    };
    let memory = store.instance_mut(instance).get_defined_memory_mut(memory);
    let Some(memory) = memory.as_shared_memory().cloned() else {
        return Ok(None);
    };
    let atomic = memory.atomic_addr(address, E::SIZE)?;
    let base = atomic.addr() - usize::try_from(address).unwrap_or(0);
    let from_outside = !store.threads_own_memory(base);
    // A time beyond the clock's range never comes.
    let until = timeout.and_then(|timeout| store.now_for_waits().checked_add(timeout));
    let mut queued = Queued {
        memory,
        key: atomic.expose_provenance() as u64,
        waiter: Waiter::new(),
        queued: false,
    };
    // SAFETY: I14. The memory is alive, and holds this address.
    if !queued.enter(|| unsafe { expected.is_in(atomic) }, waker) {
        return Ok(Some(WaitResult::Mismatch));
    }
    while !queued.was_notified() {
        if until.is_some_and(|until| store.now_for_waits() >= until) {
            // A notification may arrive just now.
            return Ok(Some(match queued.leave() {
                true => WaitResult::Ok,
                false => WaitResult::TimedOut,
            }));
        }
        let context = park::take_context(store, "an atomic")?;
        let park = Park {
            until,
            atomic: Some((address, from_outside)),
            ..Park::default()
        };
        park::park(store, context, park)?;
        park::fresh_waker(store);
    }
    Ok(Some(WaitResult::Ok))
}
