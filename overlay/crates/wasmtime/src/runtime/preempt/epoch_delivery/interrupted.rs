//! What happens at a deadline: what the `new_epoch` libcall does, at an arbitrary instruction.

use super::delivery::Delivery;
use super::sealed::Seal;
use crate::prelude::*;
use crate::runtime::preempt::source::host_return::returns_to_wasm;
use crate::runtime::vm::libcalls::new_epoch;
use crate::runtime::vm::{VMStore, catch_unwind_and_record_trap, raise_preexisting_trap, tls};
use crate::store::InstanceId;
use wasmtime_environ::EntityRef;

/// The state of the store whose guest the stub has just been called by, if its epochs are
/// signals.
pub(in crate::runtime::preempt) fn of_youngest_activation<'a>() -> Option<&'a Delivery> {
    let context = tls::with(|state| state.map(|state| state.vm_store_context.get()));
    // SAFETY: I21. The store of the youngest activation is there, and is this OS thread's.
    context.and_then(|context| unsafe { Delivery::of(context) })
}

/// Handles the deadline of the guest that has called the stub, and returns to it.
///
/// Nothing here may have a pending drop when the guest is ended, and nothing may panic: the stack
/// is unwound straight over this frame.
///
/// # Safety
///
/// I22. Called by the stub, with the address of the interrupted instruction and of the stub's
/// frame.
pub(in crate::runtime::preempt) unsafe fn interrupted(delivery: &Delivery, pc: usize, fp: usize) {
    let mut store = delivery.store();
    // SAFETY: I22. The guest of this store was interrupted in its own code, so the host does not
    // use the store.
    let store = unsafe { store.as_mut() };
    let context = store.vm_store_context_mut();
    *context.last_wasm_exit_pc.get_mut() = pc;
    *context.last_wasm_exit_trampoline_fp.get_mut() = fp;
    // The call hooks are part of it.
    let seal = Seal::new(delivery);
    let delivered = catch_unwind_and_record_trap(store, |store| deliver(store));
    drop(seal);
    if delivered {
        delivery.go_on();
    } else {
        // SAFETY: I22. There is Wasm on the stack, and nothing to drop up to it. The reason was
        // recorded by the line above.
        unsafe { raise_preexisting_trap(store) };
    }
}

/// The deadline is found reached when the host is about to return to Wasm.
///
/// # Safety
///
/// As `HostCall::end`.
#[cold]
pub(super) unsafe fn deliver_on_return(delivery: &Delivery) {
    delivery.leave_wasm();
    let mut store = delivery.store();
    // SAFETY: this function's own contract.
    let store = unsafe { store.as_mut() };
    // An error on its way out ends the guest, or is caught by it: then a signal comes soon.
    let seal = Seal::new(delivery);
    let delivered =
        !returns_to_wasm(store) || catch_unwind_and_record_trap(store, |store| deliver(store));
    drop(seal);
    if delivered {
        delivery.go_on();
    } else {
        // SAFETY: this function's own contract. The reason was recorded by the line above.
        unsafe { raise_preexisting_trap(store) };
    }
}

/// The deadline is found reached when Wasm is about to be called. To call hooks this is a host
/// call, as it is at other times.
///
/// # Errors
///
/// If what happens at the deadline is an error.
#[cold]
pub(super) fn deliver_at_entry(store: &mut dyn VMStore) -> Result<()> {
    // SAFETY: I21. The store is there until this returns.
    let delivery = unsafe { Delivery::of(store.vm_store_context_ptr()) };
    let _seal = delivery.map(Seal::new);
    #[cfg(feature = "call-hook")]
    store.call_hook(crate::CallHook::CallingHost)?;
    let delivered = at_deadline(store);
    #[cfg(feature = "call-hook")]
    store.call_hook(crate::CallHook::ReturningFromHost)?;
    delivered
}

/// Does what the store does at its deadline, for a guest on the stack.
fn deliver(store: &mut dyn VMStore) -> Result<()> {
    let can_be_signalled =
        |store: &mut dyn VMStore| store.delivery().is_none_or(Delivery::has_os_thread);
    // If it cannot, this is no deadline; and a yield may go on where it cannot.
    if can_be_signalled(store) {
        at_deadline(store)?;
    }
    ensure!(
        can_be_signalled(store),
        "a guest whose epochs are delivered by signals was resumed on an OS thread that cannot \
         receive SIGURG: unblock it there with `pthread_sigmask`, or use `EpochDelivery::Check`"
    );
    Ok(())
}

fn at_deadline(store: &mut dyn VMStore) -> Result<()> {
    // The libcall makes no use of the instance.
    new_epoch(store, InstanceId::new(0)).map(drop)
}
