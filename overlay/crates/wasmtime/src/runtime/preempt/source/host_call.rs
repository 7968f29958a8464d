//! Calls of the host by compiled code, and the words that tell whether their ends have to
//! look at anything.
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
//! Rejected: a thread-local or a process-wide counter of reasons to look. The former is a
//! call, the latter makes each store pay for what others do.

use crate::runtime::vm::{Instance, VMContext, VMStoreContext};
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicI64, compiler_fence};

/// Nothing is to be looked at, whatever the fuel counter is.
pub(super) const NOTHING: i64 = i64::MAX;

const _: () = assert!(
    core::mem::offset_of!(VMStoreContext, attention).is_multiple_of(align_of::<AtomicI64>()),
    "an atomic has its size's alignment"
);

/// Something is, once the fuel counter is no longer negative.
pub(super) const OUT_OF_FUEL: i64 = 0;

/// Something is.
const LOOK: i64 = i64::MIN;

/// `VMStoreContext::attention` of a store, for whoever has the store or, by I19, is not to
/// have it.
#[derive(Clone, Copy)]
pub(in crate::runtime::preempt) struct Attention(NonNull<AtomicI64>);

// SAFETY: I19. It is an atomic, and whoever uses it on another OS thread holds the lock that
// the end of the run takes before the store can go.
unsafe impl Send for Attention {}
// SAFETY: as above.
unsafe impl Sync for Attention {}

impl Attention {
    /// That of `store`, which lives where it is for as long as it is there.
    pub(in crate::runtime::preempt) fn of(store: &StoreOpaque) -> Attention {
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
    pub(in crate::runtime::preempt) fn raise(&self) {
        self.word().store(LOOK, SeqCst);
    }

    /// Whether it is raised by the use of fuel alone.
    #[inline]
    pub(super) fn waits_for_fuel(&self) -> bool {
        self.word().load(Relaxed) == OUT_OF_FUEL
    }

    pub(super) fn rest(&self, value: i64) {
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
pub(in crate::runtime::preempt) fn is_in_host(context: NonNull<VMStoreContext>) -> bool {
    // SAFETY: I5. The store is dispatched on this OS thread, which is interrupted.
    unsafe { context.as_ref().in_host.get().read_volatile() != 0 }
}
