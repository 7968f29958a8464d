//! Where Wasm is entered and left: the OS thread's [`OsThread`] says in which
//! of the two it is.

use super::delivery::Delivery;
use super::interrupted::{deliver_at_entry, deliver_on_return};
use super::os_threads::{self, OsThread};
use crate::prelude::*;
use crate::runtime::preempt::source::signal;
use crate::runtime::preempt::time_deadline::state::Attached;
use crate::runtime::vm::{Instance, VMContext, VMStore, VMStoreContext};
use crate::store::{StoreInner, StoreOpaque};
use core::ptr::NonNull;

/// Wasm of a store has been entered from the host, and is left when this is dropped.
pub(crate) struct InWasm {
    delivery: Option<NonNull<Delivery>>,
    /// Dropped after that.
    _attached: Attached,
}

impl Drop for InWasm {
    #[inline]
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery {
            // SAFETY: I21. The store is there until its Wasm returns.
            unsafe { delivery.as_ref() }.leave_wasm();
        }
    }
}

/// Prepares to call Wasm of `store`.
///
/// # Errors
///
/// If it must not be called now, or this OS thread cannot receive signals.
#[inline]
pub(crate) fn prepare(store: &StoreOpaque) -> Result<()> {
    match store.delivery() {
        Some(delivery) => prepare_to_deliver(store, delivery),
        None => Ok(()),
    }
}

#[inline]
fn prepare_to_deliver(store: &StoreOpaque, delivery: &Delivery) -> Result<()> {
    store.ensure_unsealed("call WebAssembly")?;
    if !delivery.is_on_this_thread() {
        delivery.move_to(Some(this_os_thread()?));
    }
    Ok(())
}

/// `store` is about to call Wasm. If its deadline is reached, that is handled first, as a check
/// at the function's entry would.
///
/// # Errors
///
/// If what happens at the deadline is an error.
#[inline]
pub(crate) fn enter<T: 'static>(store: &mut StoreInner<T>) -> Result<InWasm> {
    let mut entered = InWasm {
        delivery: None,
        _attached: Attached::attach(store),
    };
    let Some(delivery) = store.delivery() else {
        return Ok(entered);
    };
    if delivery.enter_wasm() {
        delivery.leave_wasm();
        enter_late(store)?;
    }
    entered.delivery = store.delivery().map(NonNull::from);
    Ok(entered)
}

#[cold]
fn enter_late(store: &mut dyn VMStore) -> Result<()> {
    deliver_at_entry(store)?;
    if let Some(delivery) = store.delivery() {
        // This may be another OS thread by now, and there was no activation to move.
        delivery.move_to(Some(this_os_thread()?));
        delivery.go_on();
    }
    Ok(())
}

/// A call from compiled code to the host, during which its epochs are not delivered by signals.
/// `source::host_call` has another type of this name, for guest threads.
#[derive(Clone, Copy)]
pub(crate) struct HostCall<'a>(Option<&'a Delivery>);

impl HostCall<'_> {
    /// # Safety
    ///
    /// `vmctx` is what compiled code passes to the host, and the call ends before that goes on.
    #[inline(always)]
    pub(crate) unsafe fn begin(vmctx: NonNull<VMContext>) -> Self {
        // SAFETY: this function's own contract. An instance that runs is in a store.
        let context = unsafe {
            let instance = Instance::from_vmctx(vmctx);
            instance.as_ref().vm_store_context().read()
        };
        // SAFETY: I21. The store is there as long as a guest of it runs.
        let delivery = context.and_then(|context| unsafe { Delivery::of(context.as_non_null()) });
        HostCall::leave(delivery)
    }

    /// Compiled code of a component of `store` has called the host.
    #[cfg(feature = "component-model")]
    pub(crate) fn of_component(store: &mut dyn VMStore) -> Self {
        // SAFETY: I21. The store is there as long as a guest of it runs.
        let delivery = unsafe { Delivery::of(store.vm_store_context_ptr()) };
        HostCall::leave(delivery)
    }

    #[inline(always)]
    fn leave<'a>(delivery: Option<&'a Delivery>) -> HostCall<'a> {
        if let Some(delivery) = delivery {
            delivery.leave_wasm();
        }
        HostCall(delivery)
    }

    /// The host is about to return to compiled code.
    ///
    /// # Safety
    ///
    /// Nothing on the stack is left to be dropped between here and Wasm, and the call no longer
    /// uses anything of the store.
    #[inline(always)]
    pub(crate) unsafe fn end(self) {
        if let Some(delivery) = self.0
            && delivery.enter_wasm()
        {
            // SAFETY: this function's own contract.
            unsafe { deliver_on_return(delivery) };
        }
    }
}

impl StoreOpaque {
    /// The host is about to resume Wasm of this store at a handler of a trap or exception.
    pub(crate) fn go_on_in_wasm(&self) {
        if let Some(delivery) = self.delivery() {
            delivery.go_on();
        }
    }

    /// Makes the epoch deadline 0 at `time`, on this OS thread.
    ///
    /// # Errors
    ///
    /// If it cannot receive the signal.
    pub(crate) fn watch_time(&self, time: u64) -> Result<()> {
        if let Some(delivery) = self.delivery() {
            delivery.watch_time(this_os_thread()?, time);
        }
        Ok(())
    }
}

/// A fiber with an activation of the store with this context is resumed on this OS thread.
///
/// # Safety
///
/// I21. The store exists.
#[inline]
pub(crate) unsafe fn resumed(context: NonNull<VMStoreContext>) {
    // SAFETY: this function's own contract.
    if let Some(delivery) = unsafe { Delivery::of(context) } {
        moved(delivery);
    }
}

fn moved(delivery: &Delivery) {
    if !delivery.is_on_this_thread() {
        delivery.move_to(this_os_thread().ok());
    }
}

/// This OS thread, added to the list if it is not there yet.
///
/// # Errors
///
/// If it cannot receive the signal.
#[inline]
fn this_os_thread() -> Result<&'static OsThread> {
    match os_threads::of_this_thread() {
        Some(os_thread) => Ok(os_thread),
        None => add_this_os_thread(),
    }
}

#[cold]
fn add_this_os_thread() -> Result<&'static OsThread> {
    signal::prepare_this_thread().context(
        "this OS thread cannot run guests whose epochs are delivered by signals; \
         `EpochDelivery::Check` needs none",
    )?;
    os_threads::acquire()
}
