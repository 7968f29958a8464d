//! Where an interrupted guest arrives from the stub, on the guest thread's stack.

use crate::runtime::preempt::epoch_delivery::interrupted;
use crate::runtime::preempt::suspend::{self, Suspension, preemptive_yield};
use crate::runtime::vm::{catch_unwind_and_record_trap, raise_preexisting_trap};
use core::ptr;

/// The argument of `preempted`: the stub's frame.
#[repr(C)]
pub(super) struct StubFrame {
    /// The frame of the interrupted function.
    pub(super) fp: usize,
    /// The instruction it was about to execute.
    pub(super) pc: usize,
}

/// Suspends the guest thread whose stub has this frame. Or, if the guest's epochs are delivered by
/// signals, which there are no guest threads beside, does what happens at its deadline.
///
/// Nothing here may have a pending drop when the thread is killed, and nothing may panic: the
/// stack is unwound straight over this frame.
///
/// # Safety
///
/// Only for the stub to call.
pub(super) unsafe extern "C" fn preempted(frame: &StubFrame) {
    let fp = ptr::from_ref(frame).expose_provenance();
    if let Some(delivery) = interrupted::of_youngest_activation() {
        // SAFETY: I22. This is the stub's frame.
        unsafe { interrupted::interrupted(delivery, frame.pc, fp) };
        return;
    }
    let store = suspend::with_dispatch(|dispatch| dispatch.watch.store).flatten();
    let Some(mut store) = store else {
        return;
    };
    // SAFETY: I6. The handler has seen that this is the dispatched thread's own
    // code, so the store is the one that runs it, and is not in use by the host.
    let store = unsafe { store.as_mut() };
    let context = store.vm_store_context_mut();
    *context.last_wasm_exit_pc.get_mut() = frame.pc;
    *context.last_wasm_exit_trampoline_fp.get_mut() = fp;
    let resumed = catch_unwind_and_record_trap(store, |store| match suspend::take(store) {
        Some(context) => preemptive_yield(store, context, Suspension::PREEMPTED),
        None => Ok(()),
    });
    if !resumed {
        // SAFETY: I6. There is Wasm on the stack, and nothing to drop up to it. The reason
        // was recorded by the line above.
        unsafe { raise_preexisting_trap(store) };
    }
}
