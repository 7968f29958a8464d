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
//! One comparison of two words of the `VMStoreContext` tells whether there is anything to
//! look at. `attention` has three values:
//!
//! | value | when | the comparison is true |
//! |---|---|---|
//! | [`NOTHING`] | fuel is not counted, or no guest thread has run | never |
//! | [`OUT_OF_FUEL`] | a guest thread has run, and fuel is counted | once the injected fuel is used up, by the guest's code or as the host has charged it |
//! | [`LOOK`] | it was [raised](Attention::raise) | always |
//!
//! Whoever ends a slice raises it: the signal handler, the timer's OS thread, an OS thread
//! that asks for the end of a thread, a check in a guest that a host function has called (I1).
//! It is a hint: what is due is found out from the state that they have changed before.
//!
//! A guest thread is suspended here if nothing of the host is left on its stack, which
//! is so in its own first activation, and if no reference or address is held where the
//! garbage collector does not see it: after a host function, whose results are rooted
//! meanwhile, and after those libcalls that are whole instructions. After other libcalls the
//! next check of compiled code is made to do it; under signals, where there is none, code
//! holds nothing like that, and the thread is suspended all the same.
//!
//! Rejected: a thread-local or a process-wide counter of reasons to look. The former is a
//! call, the latter makes each store pay for what others do.

use super::blocking;
use super::exit::OwnedVal;
use super::slice::Preemption;
use super::{Leave, Suspension};
use crate::prelude::*;
use crate::runtime::vm::{
    Instance, VMArrayCallHostFuncContext, VMContext, VMOpaqueContext, VMStore, VMStoreContext,
};
use crate::runtime::vm::{catch_unwind_and_record_trap, raise_preexisting_trap, tls};
use crate::store::{AutoAssertNoGc, StoreOpaque};
use crate::{FuncType, Val, ValRaw};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicI64, compiler_fence};

/// Nothing is to be looked at, whatever the fuel counter is.
const NOTHING: i64 = i64::MAX;

const _: () = assert!(
    core::mem::offset_of!(VMStoreContext, attention).is_multiple_of(align_of::<AtomicI64>()),
    "an atomic has its size's alignment"
);

/// Something is, once the fuel counter is no longer negative.
const OUT_OF_FUEL: i64 = 0;

/// Something is.
const LOOK: i64 = i64::MIN;

/// `VMStoreContext::attention` of a store, for whoever has the store or, by I19, is not to
/// have it.
#[derive(Clone, Copy)]
pub(super) struct Attention(NonNull<AtomicI64>);

// SAFETY: I19. It is an atomic, and whoever uses it on another OS thread holds the lock that
// the end of the run takes before the store can go.
unsafe impl Send for Attention {}
// SAFETY: as above.
unsafe impl Sync for Attention {}

impl Attention {
    /// That of `store`, which lives where it is for as long as it is there.
    pub(super) fn of(store: &StoreOpaque) -> Attention {
        Attention::in_context(store.vm_store_context_ptr())
    }

    fn in_context(context: NonNull<VMStoreContext>) -> Attention {
        // SAFETY: a store's context is there as long as the store.
        let word = unsafe { &raw const (*context.as_ptr()).attention };
        // SAFETY: a field is not null.
        Attention(unsafe { NonNull::new_unchecked(word.cast_mut().cast()) })
    }

    fn word(&self) -> &AtomicI64 {
        // SAFETY: I19.
        unsafe { self.0.as_ref() }
    }

    /// Has the guest looked at when it returns from the host. A signal handler may call
    /// this.
    pub(super) fn raise(&self) {
        self.word().store(LOOK, SeqCst);
    }

    /// Whether it is raised by the use of fuel alone.
    #[inline]
    pub(super) fn waits_for_fuel(&self) -> bool {
        self.word().load(Relaxed) == OUT_OF_FUEL
    }

    fn rest(&self, value: i64) {
        self.word().store(value, SeqCst);
    }
}

/// A call of the host by compiled code, unless there is nothing to be done at its end.
#[derive(Clone, Copy)]
pub(crate) struct HostCall(Option<InHost>);

#[derive(Clone, Copy)]
struct InHost {
    context: NonNull<VMStoreContext>,
    outer: usize,
}

/// What may be done at the end of a host call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest thread may be suspended.
    Suspend,
    /// It may not, but compiled code reads the fuel counter again before its next check.
    ReloadsFuel,
    /// Neither.
    Return,
    /// Nothing is left to be done: it is a check of compiled code, and has looked itself.
    Looked,
    /// It does not return: it unwinds.
    Unwind,
}

impl End {
    /// That of the libcall `name`.
    ///
    /// A libcall that is a whole instruction holds nothing that compiled code needs
    /// afterwards but its result, a number. Others are a part of one that may have
    /// the address of a table or an object in a register, or their result is a reference.
    pub(crate) const fn of_libcall(name: &str) -> End {
        const SUSPEND: &[&str] = &[
            "memory_grow",
            "memory_copy",
            "memory_fill",
            "memory_atomic_notify",
            "memory_atomic_wait32",
            "memory_atomic_wait64",
        ];
        const RELOADS_FUEL: &[&str] = &[
            "table_grow",
            "force_gc",
            "grow_gc_heap",
            "gc_alloc_raw",
            "throw_ref",
        ];
        if is_in(SUSPEND, name) {
            End::Suspend
        } else if is_in(RELOADS_FUEL, name) {
            End::ReloadsFuel
        } else if is_in(&["out_of_gas", "new_epoch"], name) {
            End::Looked
        } else if is_in(&["raise"], name) {
            End::Unwind
        } else {
            End::Return
        }
    }
}

const fn is_in(names: &[&str], name: &str) -> bool {
    let mut i = 0;
    while i < names.len() {
        let (a, b) = (names[i].as_bytes(), name.as_bytes());
        let mut at = 0;
        while at < a.len() && at < b.len() && a[at] == b[at] {
            at += 1;
        }
        if at == a.len() && at == b.len() {
            return true;
        }
        i += 1;
    }
    false
}

impl HostCall {
    /// Compiled code in the instance of `vmctx` has called the host.
    ///
    /// # Safety
    ///
    /// `vmctx` is what compiled code passes to the host, which has not used it yet.
    #[inline]
    pub(crate) unsafe fn begin(vmctx: NonNull<VMContext>, end: End) -> HostCall {
        if matches!(end, End::Looked | End::Unwind) {
            return HostCall(None);
        }
        // SAFETY: this function's own contract. An instance that runs is in a store.
        let context = unsafe {
            let instance = Instance::from_vmctx(vmctx);
            instance.as_ref().vm_store_context().read()
        };
        let context = match context {
            Some(context) => context.as_non_null(),
            // SAFETY: as above.
            None => unsafe { core::hint::unreachable_unchecked() },
        };
        // SAFETY: as above. Nobody but this OS thread uses it.
        let outer = unsafe { context.as_ref().in_host.get().replace(1) };
        compiler_fence(SeqCst);
        HostCall(Some(InHost { context, outer }))
    }

    /// The host is about to return. If there is anything to look at, that is left to
    /// `look`.
    #[inline]
    pub(crate) fn end(self, look: impl FnOnce()) {
        let Some(InHost { context, outer }) = self.0 else {
            return;
        };
        // SAFETY: the store is there as long as a guest of it runs. These are used by this
        // OS thread only.
        let fuel = unsafe {
            let context = context.as_ref();
            context.in_host.get().write(outer);
            *context.fuel_consumed.get()
        };
        // First the guest is no longer in the host. A signal before this has raised what is
        // looked at here, and one after it finds the guest not in the host and comes again.
        compiler_fence(SeqCst);
        if fuel >= Attention::in_context(context).word().load(Relaxed) {
            look();
        }
    }
}

/// Whether the guest on the CPU is in a host call. Called by the signal handler.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn is_in_host(context: NonNull<VMStoreContext>) -> bool {
    // SAFETY: I5. The store is dispatched on this OS thread, which is interrupted.
    unsafe { context.as_ref().in_host.get().read_volatile() != 0 }
}

impl StoreOpaque {
    /// Whether the guest on the CPU is in a host call, after which it now is `in_host`.
    pub(super) fn replace_in_host(&mut self, in_host: usize) -> usize {
        core::mem::replace(self.vm_store_context_mut().in_host.get_mut(), in_host)
    }

    /// Has the running thread looked at when it returns from the host.
    pub(super) fn raise_attention(&self) {
        Attention::of(self).raise();
    }

    /// There is nothing to look at until somebody raises it.
    pub(super) fn rest_attention(&self) {
        let counts_fuel = self.engine().tunables().consume_fuel && self.running_thread().is_some();
        Attention::of(self).rest(if counts_fuel { OUT_OF_FUEL } else { NOTHING });
    }

    /// Whether the running thread is to leave the CPU, and why.
    ///
    /// # Errors
    ///
    /// If it has no fuel left.
    fn due(&mut self, end: End) -> Result<Option<Suspension>> {
        let is_over = match self.engine().config().preemption {
            Some(Preemption::Epoch) => self.epoch_slice_is_over(),
            Some(Preemption::Signal) => self.signal_slice_is_over(),
            _ => false,
        };
        let due = match is_over {
            true => Some(Leave::SliceOver),
            false => self.fuel_due(end != End::Return)?,
        };
        // Compiled code has stored the fuel counter before the call, and reads it after.
        let why = |why| Suspension {
            why,
            fuel_in_register: false,
            park: None,
        };
        Ok(due.map(why))
    }
}

/// The middle of a libcall that has called the embedder, while the guest thread's code may
/// have the fuel counter in a register: if its slice is over, it is suspended right here.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook says so: the caller must unwind.
pub(crate) fn in_libcall(store: &mut dyn VMStore) -> Result<()> {
    if store.epoch_slice_is_over()
        && let Some(context) = blocking::take(store)
    {
        super::preemptive_yield(store, context, Suspension::PREEMPTED)?;
    }
    Ok(())
}

/// The end of a host function that compiled code has called, at which there is something
/// to look at. `results` are those that it returns, if it has `returned`.
///
/// # Safety
///
/// As [`safe_point`], and the arguments are those that compiled code has called the host
/// function with.
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
        let suspended = suspend(store, why);
        // SAFETY: as above.
        unsafe { roots.give_back(store.store_opaque_mut(), values)? };
        suspended
    };
    // SAFETY: this function's own contract.
    unsafe { safe_point(caller, End::Suspend, suspend) };
}

/// The end of a libcall at which there is something to look at.
///
/// # Safety
///
/// As [`safe_point`].
#[cold]
pub(crate) unsafe fn after_libcall(vmctx: NonNull<VMContext>, end: End) {
    // SAFETY: this function's own contract.
    unsafe { safe_point(vmctx, end, suspend) };
}

/// # Safety
///
/// Nothing on the stack is left to be dropped between here and Wasm, and `vmctx` is what
/// compiled code has called the host with, which uses nothing of the store any more.
unsafe fn safe_point(
    vmctx: NonNull<VMContext>,
    end: End,
    suspend: impl FnOnce(&mut dyn VMStore, Suspension) -> Result<()>,
) {
    // SAFETY: this function's own contract.
    let store = unsafe { Instance::from_vmctx(vmctx).as_ref().store_ptr() };
    let Some(mut store) = store else {
        return;
    };
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

/// Why the running thread is to be suspended here, or the error that it is to be unwound
/// with, if either is due and may be done here.
fn look(store: &mut StoreOpaque, end: End) -> Option<Result<Suspension>> {
    if store.running_thread().is_none() {
        store.rest_attention();
        return None;
    }
    store.watch_new_modules();
    // In a guest that a host function has called, that function's own end will look.
    if !blocking::available(store) {
        return None;
    }
    if !returns_to_wasm(store) {
        // An exception may be caught by the guest, which goes on then.
        store.end_overdue_slice();
        return None;
    }
    // The interpreter is not unwound from here.
    let end = match store.engine().is_pulley() {
        true => End::Return,
        false => end,
    };
    // What is raised from here on is looked at the next time.
    store.rest_attention();
    let due = store.due(end).transpose()?;
    if end == End::Suspend {
        return Some(due);
    }
    if store.engine().config().preemption == Some(Preemption::Signal) {
        return Some(due.map(|due| Suspension {
            fuel_in_register: true,
            ..due
        }));
    }
    store.end_at_next_check(end);
    store.raise_attention();
    None
}

impl StoreOpaque {
    /// Makes the next check of compiled code suspend the running thread, where there is one.
    fn end_at_next_check(&mut self, end: End) {
        self.end_epoch_slice();
        if end == End::ReloadsFuel {
            self.end_fuel_slice();
        }
    }

    /// Host code has run on the running thread's stack which no guest has called, and a
    /// guest is about to: if the slice is over, its first check ends it.
    pub(super) fn end_overdue_slice(&mut self) {
        if self.epoch_slice_is_over() {
            self.end_epoch_slice();
        }
        if self.fuel_slice_is_over() {
            self.end_fuel_slice();
        }
        self.watch_overdue_slice();
    }
}

fn suspend(store: &mut dyn VMStore, why: Suspension) -> Result<()> {
    match blocking::take(store) {
        Some(context) => super::preemptive_yield(store, context, why),
        None => Ok(()),
    }
}

/// Whether it is Wasm that the host is about to return to. It is not if the guest
/// thread's function is a host function itself, and a trap that is on its way up
/// ends the thread anyway.
fn returns_to_wasm(store: &mut StoreOpaque) -> bool {
    let entry_fp = *store.vm_store_context_mut().last_wasm_entry_fp.get_mut();
    tls::with(|state| {
        state.is_some_and(|state| {
            // SAFETY: I6. This is what was saved when the youngest activation was
            // made, on a stack that is still there.
            let outer_fp = unsafe { state.old_last_wasm_entry_fp() };
            entry_fp != outer_fp && !state.is_unwinding()
        })
    })
}

/// The references among the results of a host function, while its caller is suspended
/// before it has them (I3).
struct Roots(Vec<(usize, OwnedVal)>);

impl Roots {
    fn none() -> Roots {
        Roots(Vec::new())
    }

    /// # Safety
    ///
    /// `values` are results of a function of type `ty`.
    unsafe fn of(
        store: &mut StoreOpaque,
        ty: wasmtime_environ::VMSharedTypeIndex,
        values: NonNull<ValRaw>,
    ) -> Result<Roots> {
        let engine = store.engine().clone();
        let ty = FuncType::from_shared_type_index(&engine, ty);
        let references = ty
            .results()
            .enumerate()
            .filter(|(_, ty)| ty.is_vmgcref_type_and_points_to_object());
        let mut roots = Vec::new();
        for (i, ty) in references {
            let scope = store.enter_gc_lifo_scope();
            // SAFETY: this function's own contract.
            let raw = unsafe { values.add(i).read() };
            // SAFETY: as above.
            let val = unsafe { Val::_from_raw(&mut AutoAssertNoGc::new(store), raw, &ty) };
            let root = OwnedVal::new(store, &val);
            store.exit_gc_lifo_scope(scope);
            roots.push((i, root?));
        }
        Ok(Roots(roots))
    }

    /// # Safety
    ///
    /// As in [`Roots::of`].
    unsafe fn give_back(self, store: &mut StoreOpaque, values: NonNull<ValRaw>) -> Result<()> {
        for (i, root) in self.0 {
            let scope = store.enter_gc_lifo_scope();
            let val = root.to_val(store);
            let raw = val.to_raw_(&mut AutoAssertNoGc::new(store));
            store.exit_gc_lifo_scope(scope);
            // SAFETY: this function's own contract.
            unsafe { values.add(i).write(raw?) };
        }
        Ok(())
    }
}
