//! The signal handler's part.

use super::delivery::{Delivery, retry};
use super::os_threads;
use crate::runtime::preempt::source::signal::arch::frame::Interrupted;
use crate::runtime::vm::tls;

/// The signal has come: makes the guest of this OS thread call the stub if its deadline is
/// reached.
///
/// # Safety
///
/// Called by a signal handler that has interrupted `interrupted` on this OS thread.
pub(in crate::runtime::preempt) unsafe fn on_signal(interrupted: &mut Interrupted<'_>) {
    let Some(os_thread) = os_threads::of_this_thread() else {
        return;
    };
    // SAFETY: I25. It is this OS thread's.
    unsafe { os_thread.timed().look() };
    // In the host, the way back to Wasm looks.
    let Some(context) = os_thread.in_wasm() else {
        return;
    };
    // SAFETY: I21. The store whose Wasm this OS thread runs is there.
    let delivery = unsafe { Delivery::of(context) };
    let Some(delivery) = delivery.filter(|delivery| delivery.is_due()) else {
        return;
    };
    // The youngest activation is another store's, or there is none, while Wasm is about to be
    // entered.
    let youngest = tls::with(|state| state.map(|state| state.vm_store_context.get()));
    // SAFETY: this function's own contract.
    if youngest == Some(context) && unsafe { interrupt(delivery, interrupted) } {
        os_thread.leave();
    } else {
        retry();
    }
}

/// Returns whether the guest was in one of its functions, and will call the stub.
///
/// # Safety
///
/// As [`on_signal`].
unsafe fn interrupt(delivery: &Delivery, interrupted: &mut Interrupted<'_>) -> bool {
    // SAFETY: I21. This OS thread says so.
    match unsafe { delivery.function_at(interrupted.pc()) } {
        // SAFETY: I22. `pc` is in this function, which the youngest activation runs.
        Some(function) => unsafe { interrupted.call_stub(&function) },
        None => false,
    }
}
