//! The signal handler's part.

use super::delivery::{Delivery, retry};
use super::os_threads;
use crate::runtime::preempt::source::signal::x86_64::frame::Interrupted;
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
    // SAFETY: I21. It is this OS thread's.
    if !unsafe { os_thread.is_due_here() } {
        // In the host, the way back to Wasm looks.
        return;
    }
    let context = tls::with(|state| state.map(|state| state.vm_store_context.get()));
    // SAFETY: I21. The store of the youngest activation is there, and is this OS thread's. It
    // is another store's, or none, while Wasm is about to be entered.
    let delivery = context.and_then(|context| unsafe { Delivery::of(context) });
    // SAFETY: this function's own contract.
    let mut interrupt = |delivery| unsafe { interrupt(delivery, interrupted) };
    if delivery.is_some_and(|delivery| delivery.is_due() && interrupt(delivery)) {
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
    match delivery.function_at(interrupted.pc()) {
        // SAFETY: I22. `pc` is in this function, which the youngest activation runs.
        Some(function) => unsafe { interrupted.call_stub(&function) },
        None => false,
    }
}
