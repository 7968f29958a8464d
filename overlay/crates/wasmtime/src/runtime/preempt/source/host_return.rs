//! The ends of host functions and libcalls: safe points under every preemption source.
//!
//! ```text
//!   guest ---- calls ----> HostCall::begin: the guest is in the host
//!                            |
//!                          host function, libcall
//!                            |
//!   guest <--- returns --- HostCall::end: fuel_consumed >= attention ? ---> safe_point
//! ```
//!
//! `host_call.rs` decides whether a check is needed.
//!
//! A guest thread can be suspended here under two conditions:
//!
//! 1. No host frames are left on its stack: it is in its own first activation.
//! 2. Compiled code has no reference and no address of a garbage-collected object or a table in
//!    a register or on the stack where the collector does not find it.
//!
//! The second holds after a host function, whose results are rooted while the thread is off the
//! CPU, and after a libcall that is a whole instruction. After another libcall it may not hold,
//! and the thread is suspended at its next check instead. Under signals, a function without checks
//! holds no references, and what it knows of tables stays true (I3, I4): the thread is suspended
//! here after any libcall of such a function.

use super::attention::{Attention, NOTHING, OUT_OF_FUEL};
#[cfg(feature = "component-model")]
use super::fuel;
use super::host_call::End;
use super::host_results::Roots;
use crate::ValRaw;
use crate::prelude::*;
#[cfg(feature = "component-model")]
use crate::runtime::preempt::components;
use crate::runtime::preempt::slice::Preemption;
use crate::runtime::preempt::suspend::{self, Leave, Suspension, preemptive_yield};
use crate::runtime::vm::{
    CallThreadState, catch_unwind_and_record_trap, raise_preexisting_trap, tls,
};
use crate::runtime::vm::{
    Instance, VMArrayCallHostFuncContext, VMContext, VMOpaqueContext, VMStore,
};
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

impl StoreOpaque {
    /// Sets whether the guest on the CPU is in a host call, and returns the previous value.
    pub(in crate::runtime::preempt) fn replace_in_host(&mut self, in_host: usize) -> usize {
        let outer = core::mem::replace(self.vm_store_context_mut().in_host.get_mut(), in_host);
        // As in `HostCall::end`: whoever ends a slice from here on finds the new value.
        compiler_fence(SeqCst);
        outer
    }

    /// Makes the running thread check on its return from the host.
    pub(in crate::runtime::preempt) fn raise_attention(&self) {
        Attention::of(self).raise();
    }

    /// No check is needed until attention is raised again.
    pub(in crate::runtime::preempt) fn rest_attention(&self) {
        let counts_fuel = self.engine().tunables().consume_fuel && self.running_thread().is_some();
        Attention::of(self).rest(if counts_fuel { OUT_OF_FUEL } else { NOTHING });
    }

    /// Whether the running thread must leave the CPU, and why.
    ///
    /// # Errors
    ///
    /// If it has no fuel left.
    fn due(&mut self, end: End) -> Result<Option<Suspension>> {
        let due = match self.slice_of_time_is_over() {
            true => Some(Leave::SliceOver),
            false => self.fuel_due(matches!(end, End::Suspend | End::ReloadsFuel))?,
        };
        // Compiled code stored the fuel counter before the call, and reloads it after.
        let why = |why| Suspension {
            why,
            fuel_in_register: false,
        };
        Ok(due.map(why))
    }

    fn slice_of_time_is_over(&self) -> bool {
        match self.engine().config().preemption {
            Some(Preemption::Epoch) => self.epoch_slice_is_over(),
            Some(Preemption::Signal) => self.signal_slice_is_over(),
            _ => false,
        }
    }
}

/// In the middle of a libcall that has called the embedder, where the guest thread's code may
/// have the fuel counter in a register: suspends the thread right here if its slice is over. The
/// next check may call the embedder as well, so that a signal finds the thread in the host each
/// time.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook fails: the caller must unwind.
pub(crate) fn in_libcall(store: &mut dyn VMStore) -> Result<()> {
    if store.slice_of_time_is_over()
        && let Some(context) = suspend::take(store)
    {
        preemptive_yield(store, context, Suspension::PREEMPTED)?;
    }
    Ok(())
}

/// In the middle of a libcall that works on memories of the component whose code has called it,
/// and has done another `cost` units of that: charges the guest thread, and suspends it right
/// here if it is to leave the CPU. While it is suspended, those memories neither move nor are
/// used by anybody else (I4).
///
/// # Errors
///
/// If it has no fuel left, was killed meanwhile, or a call hook fails: the caller must unwind.
#[cfg(feature = "component-model")]
pub(crate) fn after_piece(store: &mut dyn VMStore, cost: usize) -> Result<()> {
    let opaque = store.store_opaque_mut();
    if opaque.running_thread().is_none() {
        return Ok(());
    }
    if opaque.engine().tunables().consume_fuel {
        fuel::charge_bulk(opaque, cost as u64, true)?;
    }
    if !suspend::available(opaque) {
        return Ok(());
    }
    match opaque.due(End::Suspend)? {
        Some(why) => components::between_pieces(store, |store| suspend_here(store, why)),
        None => Ok(()),
    }
}

/// The end of a host function called by compiled code, where a check is needed. `values` are
/// its results, if it has `returned`.
///
/// # Safety
///
/// As [`safe_point`], and the arguments are those compiled code called the host function
/// with.
#[cold]
pub(crate) unsafe fn after_function(
    callee: NonNull<VMOpaqueContext>,
    caller: NonNull<VMContext>,
    values: NonNull<ValRaw>,
    returned: bool,
) {
    // SAFETY: this function's own contract: a host function has such a context.
    let ty = unsafe {
        VMArrayCallHostFuncContext::from_opaque(callee)
            .as_ref()
            .func_ref()
            .type_index
    };
    let suspend = |store: &mut dyn VMStore, why| {
        let opaque = store.store_opaque_mut();
        let roots = match returned {
            // SAFETY: this function's own contract: the results are there.
            true => unsafe { Roots::of(opaque, ty, values) }?,
            false => Roots::none(),
        };
        let suspended = suspend_here(store, why);
        // SAFETY: as above.
        unsafe { roots.give_back(store.store_opaque_mut(), values)? };
        suspended
    };
    // SAFETY: this function's own contract.
    unsafe { safe_point(caller, End::Suspend, suspend) };
}

/// The end of a libcall where a check is needed.
///
/// # Safety
///
/// As [`safe_point`].
#[cold]
pub(crate) unsafe fn after_libcall(vmctx: NonNull<VMContext>, end: End) {
    // SAFETY: this function's own contract.
    unsafe { safe_point(vmctx, end, suspend_here) };
}

/// The end of a host function or libcall that code of a component of `store` has called, where a
/// check is needed. What such a call returns are numbers.
///
/// # Safety
///
/// Nothing on the stack is left to be dropped between here and Wasm, and the call no longer uses
/// anything of the store.
#[cfg(feature = "component-model")]
#[cold]
pub(crate) unsafe fn after_component_call(store: NonNull<dyn VMStore>) {
    // SAFETY: this function's own contract.
    unsafe { safe_point_in(store, End::Suspend, suspend_here) };
}

/// # Safety
///
/// Nothing on the stack is left to be dropped between here and Wasm. `vmctx` is what compiled
/// code called the host with, and that call no longer uses anything of the store.
unsafe fn safe_point(
    vmctx: NonNull<VMContext>,
    end: End,
    suspend: impl FnOnce(&mut dyn VMStore, Suspension) -> Result<()>,
) {
    // SAFETY: this function's own contract.
    let store = unsafe { Instance::from_vmctx(vmctx).as_ref() }
        .store
        .as_ref();
    if let Some(store) = store {
        // SAFETY: this function's own contract.
        unsafe { safe_point_in(store.0, end, suspend) };
    }
}

/// # Safety
///
/// As [`safe_point`], for a call of code of `store`.
unsafe fn safe_point_in(
    mut store: NonNull<dyn VMStore>,
    end: End,
    suspend: impl FnOnce(&mut dyn VMStore, Suspension) -> Result<()>,
) {
    // SAFETY: this function's own contract.
    let store: &mut dyn VMStore = unsafe { store.as_mut() };
    let Some(why) = look(store.store_opaque_mut(), end) else {
        return;
    };
    if !catch_unwind_and_record_trap(store, |store| suspend(store, why?)) {
        // SAFETY: this function's own contract. The reason was recorded by the line above.
        unsafe { raise_preexisting_trap(store) };
    }
}

/// Why the running thread must be suspended here, or the error to unwind it with.
///
/// `None` if there is nothing to do here: nothing is due; or something may be, and
///
/// * this is a guest that a host function has called, and that function's end will look;
/// * this is not on the way to Wasm, and the next check of whatever guest runs next will look;
/// * the thread may not be suspended here, and its next check has been told to do it.
fn look(store: &mut StoreOpaque, end: End) -> Option<Result<Suspension>> {
    if store.running_thread().is_none() {
        store.rest_attention();
        return None;
    }
    store.watch_new_modules();
    // In a guest called by a host function: that function's own end will check, or a signal
    // comes after it.
    if !suspend::available(store) {
        if end == End::Polled && store.signal_slice_is_over() {
            // Each poll would come here, and a signal comes for as long as the slice is over.
            store.rest_attention();
            store.watch_again_soon();
        }
        return None;
    }
    if !returns_to_wasm(store) {
        // The guest may catch an exception and run on.
        store.end_overdue_slice();
        return None;
    }
    // The interpreter cannot be unwound from here.
    let end = match store.engine().is_pulley() {
        true => End::Return,
        false => end,
    };
    // Attention raised from here on is seen next time.
    store.rest_attention();
    let due = store.due(end).transpose()?;
    if end == End::Suspend {
        return Some(due);
    }
    if end == End::Polled || store.caller_can_be_stopped_anywhere() {
        return Some(due.map(|due| Suspension {
            fuel_in_register: true,
            ..due
        }));
    }
    store.end_at_next_check(end);
    store.raise_attention();
    // The next check may be far away: its caller may have no checks.
    store.watch_again_soon();
    None
}

impl StoreOpaque {
    /// Whether the guest function that has called the host can be stopped at each of its
    /// instructions, and so after each libcall: it holds no references.
    fn caller_can_be_stopped_anywhere(&mut self) -> bool {
        if self.engine().config().preemption != Some(Preemption::Signal) {
            return false;
        }
        let pc = *self.vm_store_context_mut().last_wasm_exit_pc.get_mut();
        self.signals_may_stop_code_at(pc)
    }

    /// Makes compiled code's next check, if it has any, suspend the running thread.
    fn end_at_next_check(&mut self, end: End) {
        self.end_epoch_slice();
        if end == End::ReloadsFuel {
            self.end_fuel_slice();
        }
    }

    /// Called when host code that no guest called has run on the running thread's stack and
    /// is about to call a guest: if the slice is over, the guest's first check ends it.
    pub(in crate::runtime::preempt) fn end_overdue_slice(&mut self) {
        if self.epoch_slice_is_over() {
            self.end_epoch_slice();
        }
        if self.fuel_slice_is_over() {
            self.end_fuel_slice();
        }
        self.watch_overdue_slice();
    }
}

fn suspend_here(store: &mut dyn VMStore, why: Suspension) -> Result<()> {
    match suspend::take(store) {
        Some(context) => preemptive_yield(store, context, why),
        None => Ok(()),
    }
}

/// Whether the host is about to return to Wasm. It is not if the guest thread's function is
/// itself a host function. And a trap that is propagating ends the thread anyway.
pub(in crate::runtime::preempt) fn returns_to_wasm(store: &mut StoreOpaque) -> bool {
    let entry_fp = *store.vm_store_context_mut().last_wasm_entry_fp.get_mut();
    tls::with(|state| {
        state.is_some_and(|state| {
            // SAFETY: I6. This is what was saved when the youngest activation was
            // made, on a stack that is still there.
            let outer_fp = unsafe { state.old_last_wasm_entry_fp() };
            entry_fp != outer_fp && !is_unwinding(state)
        })
    })
}

/// Whether an unwind has been recorded and not been performed yet.
fn is_unwinding(state: &CallThreadState) -> bool {
    let reason = state.unwind.take();
    let recorded = reason.is_some();
    state.unwind.set(reason);
    recorded
}
