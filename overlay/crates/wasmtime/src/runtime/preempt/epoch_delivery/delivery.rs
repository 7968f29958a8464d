//! What a store whose epochs are signals keeps for the handler and for calls to the host.

use super::os_threads::OsThread;
use super::timed::Timed;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::source::signal::armed;
use crate::runtime::preempt::source::signal::code::Function;
use crate::runtime::preempt::source::signal::watch::RETRY;
use crate::runtime::vm::{VMStore, VMStoreContext};
use crate::store::StoreOpaque;
use core::cell::Cell;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::sync::Arc;

/// A store's part in the delivery of epochs by signals. `VMStoreContext::epoch_delivery` points
/// to it.
pub(crate) struct Delivery {
    epoch: Arc<AtomicU64>,
    context: NonNull<VMStoreContext>,
    store: NonNull<dyn VMStore>,
    /// The OS thread that runs the store's Wasm.
    os_thread: Cell<Option<&'static OsThread>>,
    /// Its deadline in time, and the OS thread that has it in its list.
    timed: Timed,
    timed_by: Cell<Option<&'static OsThread>>,
    /// Whether a deadline is being handled: see `sealed.rs`.
    pub(super) sealed: Cell<bool>,
}

// SAFETY: I21. It is part of its store, and is used by the OS thread that uses the store.
unsafe impl Send for Delivery {}
// SAFETY: as above.
unsafe impl Sync for Delivery {}

impl Delivery {
    /// The state of the store with this context, if it has one.
    ///
    /// # Safety
    ///
    /// I21. The store exists for as long as the result is used, on the OS thread that uses the
    /// store.
    #[inline(always)]
    pub(crate) unsafe fn of<'a>(context: NonNull<VMStoreContext>) -> Option<&'a Delivery> {
        // SAFETY: this function's own contract.
        let address = unsafe { context.as_ref().epoch_delivery.get().read() };
        // SAFETY: I21. The store has put its own state there.
        unsafe { ptr::with_exposed_provenance::<Delivery>(address).as_ref() }
    }

    pub(super) fn store(&self) -> NonNull<dyn VMStore> {
        self.store
    }

    /// Whether the deadline is reached.
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        // SAFETY: I21.
        let deadline = unsafe { self.context.as_ref().epoch_deadline.get().read() };
        self.epoch.load(Relaxed) >= deadline
    }

    /// The OS thread goes on in Wasm, and may be signalled. Returns whether the deadline is
    /// reached already: then no signal may come (I20).
    #[inline(always)]
    pub(super) fn enter_wasm(&self) -> bool {
        // SAFETY: I21.
        let deadline = unsafe { self.context.as_ref().epoch_deadline.get().read() };
        let Some(os_thread) = self.os_thread.get() else {
            // Nobody could interrupt it.
            return true;
        };
        os_thread.enter(self.context, &self.epoch, deadline);
        // Of the deadline as it is now: before this OS thread said that it is in Wasm, its handler
        // may have made it 0, and left the rest to this (I25).
        self.is_due()
    }

    /// The OS thread is in the host.
    #[inline(always)]
    pub(super) fn leave_wasm(&self) {
        if let Some(os_thread) = self.os_thread.get() {
            os_thread.leave();
        }
    }

    /// The OS thread goes on in Wasm, even if the deadline is reached: a signal comes soon then.
    pub(super) fn go_on(&self) {
        if self.enter_wasm() {
            retry();
        }
    }

    /// The store's Wasm runs on `os_thread` from now on.
    ///
    /// If that is `None`, as it cannot receive the signal, its guest is ended.
    pub(super) fn move_to(&self, os_thread: Option<&'static OsThread>) {
        self.os_thread.set(os_thread);
    }

    #[inline(always)]
    pub(super) fn is_on_this_thread(&self) -> bool {
        self.os_thread.get().is_some_and(OsThread::is_this_thread)
    }

    pub(super) fn has_os_thread(&self) -> bool {
        self.os_thread.get().is_some()
    }

    /// The range of the store's function that contains `pc`. Called by the signal handler.
    ///
    /// # Safety
    ///
    /// I21. The OS thread says that it is in Wasm of the store.
    pub(super) unsafe fn function_at(&self, pc: usize) -> Option<Range<usize>> {
        // SAFETY: this function's own contract: the host does not use the store.
        let modules = unsafe { self.store.as_ref() }.modules();
        let (module, _, offset) = modules.module_by_pc(pc)?;
        Some(Function::of(module, pc, offset)?.range)
    }

    /// Has the handler of `os_thread`, which is this one, make the epoch deadline 0 at `time`.
    /// The caller derives it next.
    pub(super) fn watch_time(&self, os_thread: &'static OsThread, time: u64) {
        self.timed.set(time);
        if self.timed_by.replace(Some(os_thread)).is_none() {
            // SAFETY: I25. It is taken out when this store's calls leave the OS thread.
            unsafe { os_thread.timed().push(&self.timed) };
        }
        // SAFETY: I25.
        unsafe { os_thread.timed().look() };
    }

    /// As before `watch_time`.
    pub(super) fn unwatch_time(&self) {
        if let Some(os_thread) = self.timed_by.take() {
            // SAFETY: I25. This is the OS thread that `watch_time` was called on.
            unsafe { os_thread.timed().remove(&self.timed) };
            self.timed.set(NEVER);
        }
    }
}

/// Has the handler look again a little later. May be called by the handler.
pub(super) fn retry() {
    armed::arm_by(Moment::now().as_nanos().saturating_add(RETRY));
}

impl StoreOpaque {
    /// The state of this store, if its epochs are signals.
    #[inline]
    pub(super) fn delivery(&self) -> Option<&Delivery> {
        // SAFETY: I21. This store has it, and is borrowed.
        unsafe { Delivery::of(self.vm_store_context_ptr()) }
    }

    /// The epoch deadline was derived from the embedder's.
    #[inline]
    pub(crate) fn override_epoch_deadline(&self) {
        if let Some(delivery) = self.delivery() {
            delivery.timed.override_epoch_deadline();
        }
    }

    /// No call of this store runs on this OS thread any more.
    pub(crate) fn unwatch_time(&self) {
        if let Some(delivery) = self.delivery() {
            delivery.unwatch_time();
        }
    }

    /// Makes the state of a new store whose epochs are signals.
    pub(crate) fn deliver_epochs_by_signal(&mut self) {
        if !self.engine().delivers_epochs_by_signal() {
            return;
        }
        let delivery = Box::new(Delivery {
            epoch: self.engine().epoch_timer().shared(),
            context: self.vm_store_context_ptr(),
            store: self.traitobj(),
            os_thread: Cell::new(None),
            timed: Timed::new(self.vm_store_context_ptr()),
            timed_by: Cell::new(None),
            sealed: Cell::new(false),
        });
        let address = self.preempt.set_delivery(delivery).expose_provenance();
        *self.vm_store_context_mut().epoch_delivery.get_mut() = address;
    }
}
