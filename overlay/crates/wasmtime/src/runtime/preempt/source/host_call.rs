//! Calls from compiled code to the host, and the state that tells whether a check is needed
//! when they end.
//!
//! `attention.rs` has the word that they compare.

use super::attention::Attention;
use crate::runtime::vm::{Instance, VMContext, VMStoreContext};
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicI64, compiler_fence};

const _: () = assert!(
    core::mem::offset_of!(VMStoreContext, attention).is_multiple_of(align_of::<AtomicI64>()),
    "an atomic has its size's alignment"
);

impl Attention {
    /// The attention of `store`, at a fixed address for as long as the store exists.
    pub(in crate::runtime::preempt) fn of(store: &StoreOpaque) -> Attention {
        Attention::in_context(store.vm_store_context_ptr())
    }

    fn in_context(context: NonNull<VMStoreContext>) -> Attention {
        // SAFETY: a store's context is there as long as the store.
        let word = unsafe { &raw const (*context.as_ptr()).attention };
        // SAFETY: I19. A field is not null, and this one is only used as an atomic.
        unsafe { Attention::new(NonNull::new_unchecked(word.cast_mut().cast())) }
    }
}

/// A call from compiled code to the host, or nothing if its end needs no check.
#[derive(Clone, Copy)]
pub(crate) struct HostCall(Option<InHost>);

#[derive(Clone, Copy)]
struct InHost {
    context: NonNull<VMStoreContext>,
    outer: usize,
}

/// What the end of a host call may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest thread may be suspended.
    Suspend,
    /// It may not be, but compiled code reloads the fuel counter before its next check.
    ReloadsFuel,
    /// Neither.
    Return,
    /// The guest thread may be suspended: it has polled for that. It keeps the fuel counter in a
    /// register.
    Polled,
    /// Nothing is left to do: it is itself a check of compiled code.
    Looked,
    /// It unwinds and does not return.
    Unwind,
}

impl End {
    /// The end of the libcall `name`.
    ///
    /// After a libcall that is a whole instruction, compiled code needs only its result, a
    /// number. Other libcalls are part of an instruction that may have a table's or an
    /// object's address in a register, or their result is a reference.
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
        } else if is_in(&["safepoint"], name) {
            End::Polled
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
        HostCall::in_store(context)
    }

    /// Compiled code of a component of `store` has called the host.
    #[cfg(feature = "component-model")]
    pub(crate) fn of_component(store: &StoreOpaque) -> HostCall {
        HostCall::in_store(store.vm_store_context_ptr())
    }

    #[inline]
    fn in_store(context: NonNull<VMStoreContext>) -> HostCall {
        // SAFETY: a guest of this store runs. Nobody but this OS thread uses it.
        let outer = unsafe { context.as_ref().in_host.get().replace(1) };
        compiler_fence(SeqCst);
        HostCall(Some(InHost { context, outer }))
    }

    /// The host is about to return. Calls `look` if a check is needed.
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
        // First the guest leaves the host. An earlier signal has raised the attention checked
        // here; a later one finds the guest out of the host and comes again.
        compiler_fence(SeqCst);
        if Attention::in_context(context).is_due(fuel) {
            look();
        }
    }
}

/// Whether the guest on the CPU is in a host call. Called by the signal handler.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
pub(in crate::runtime::preempt) fn is_in_host(context: NonNull<VMStoreContext>) -> bool {
    // SAFETY: I5. The store is dispatched on this OS thread, which is interrupted.
    unsafe { context.as_ref().in_host.get().read_volatile() != 0 }
}
