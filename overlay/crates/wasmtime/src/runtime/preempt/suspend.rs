//! Leaving the CPU: suspending a guest thread from synchronous code.
//!
//! Upstream suspends a fiber through a `BlockingContext`, made from two pointers in the
//! store. While they are there `StoreOpaque::can_block` is true, and the synchronous API
//! (`Func::call` and the like) refuses to work. Guest threads must be suspendable with
//! synchronous host functions, so a guest thread takes its context out of the store when it
//! starts, and a thread-local pointer leads to it:
//!
//! ```text
//!  thread-local CURRENT
//!    |
//!    v  on the stack of the dispatch loop        on the stack of the fiber
//!  Dispatch { store, base, context } ----------> BlockingContext
//!    |
//!    v outer: of a run that this one is inside of
//!  Dispatch { .. }
//! ```
//!
//! Rules, numbered as in docs/safety.md:
//!
//! * I1: the context is handed out only while the youngest activation is the guest thread's
//!   own first one. That is, its `prev` is `base`, the youngest activation when the thread
//!   was dispatched. If the guest came back in through a host function, or another store is
//!   running, another activation is on top. Before and after the first activation, the
//!   youngest is `base` itself.
//! * I2: `CURRENT` is reread after every suspension, by accessors that are never inlined: the
//!   fiber may be resumed on another OS thread, by another `Dispatch`.
//! * I9: one user at a time. [`take`] leaves `None` behind, and the taker puts the context
//!   back into the `Dispatch` that is current by then.
//!
//! Rejected: leaving the pointers in the store and hiding them during nested calls. That
//! needs a guard at every synchronous entry point; this needs one fallback in
//! `BlockingContext::with`.

use super::source::signal::watch::Watch;
use super::tasks;
use crate::fiber::{BlockingContext, StoreFiberYield};
use crate::prelude::*;
use crate::runtime::vm::{CallThreadState, VMStore, VMStoreContext, tls};
use crate::store::{StoreId, StoreOpaque};
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

type Context = NonNull<BlockingContext<'static, 'static>>;

/// One dispatch of a guest thread. Lives on the stack of its resumer.
pub(super) struct Dispatch {
    store: StoreId,
    vm_store_context: NonNull<VMStoreContext>,
    base: tls::Ptr,
    context: Cell<Option<Context>>,
    /// Set when this becomes the current dispatch.
    outer: Cell<*const Dispatch>,
    /// Whether the thread's first activation has called a host function whose results are being
    /// lowered.
    lowering: Cell<bool>,
    /// For the signal handler.
    pub(super) watch: Watch,
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
impl Dispatch {
    /// Whether the guest thread is in a host call, whose end checks for preemption. Called by
    /// the signal handler.
    pub(super) fn is_in_host(&self) -> bool {
        super::source::host_call::is_in_host(self.vm_store_context)
    }

    /// I1: whether the youngest activation is the guest thread's own first one, so the thread
    /// can be suspended. Called by the signal handler.
    pub(super) fn is_in_own_code(&self) -> bool {
        self.context.get().is_some()
            && tls::with(|state| {
                state.is_some_and(|state| {
                    self.is_own(state) && state.vm_store_context.get() == self.vm_store_context
                })
            })
    }
}

impl Dispatch {
    /// I1: whether the youngest activation, `state`, is the guest thread's own first one, or runs
    /// its `realloc` for the results of a host function that this has called.
    #[inline(always)]
    fn is_own(&self, state: &CallThreadState) -> bool {
        let outer = state.prev();
        ptr::eq(outer, self.base) || (self.lowering.get() && self.is_first(outer))
    }

    fn is_first(&self, state: tls::Ptr) -> bool {
        // SAFETY: I1. An activation below the youngest is on the same stack, further up.
        let state = unsafe { state.as_ref() };
        state.is_some_and(|state| ptr::eq(state.prev(), self.base))
    }
}

std::thread_local! {
    static CURRENT: Cell<*const Dispatch> = const { Cell::new(ptr::null()) };
}

#[inline(never)] // see I2 in the module's docs
fn current() -> *const Dispatch {
    CURRENT.get()
}

/// Makes `dispatch` the current one, nested in the present one.
#[inline(never)] // see I2 in the module's docs
fn enter(dispatch: &Dispatch) {
    dispatch.outer.set(CURRENT.get());
    // A signal handler must find the list intact.
    compiler_fence(SeqCst);
    CURRENT.set(dispatch);
    // From here on it has the timer set again, when it finds that it was set too early.
    compiler_fence(SeqCst);
}

/// Makes `outer` the current dispatch again.
#[inline(never)] // see I2 in the module's docs
fn leave(outer: *const Dispatch) {
    CURRENT.set(outer);
}

/// Calls `f` with this OS thread's current dispatch, if any. `f` must not suspend.
pub(super) fn with_dispatch<R>(f: impl FnOnce(&Dispatch) -> R) -> Option<R> {
    // SAFETY: I2. `CURRENT` is null, or points to a `Dispatch` further up on
    // this OS thread's stack, whose `Dispatching` replaces it before that goes.
    unsafe { current().as_ref() }.map(f)
}

/// Ends the slices that other OS threads have asked to end, including those of outer runs.
/// Returns whether there were any. Called by the signal handler.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
pub(super) fn take_slice_end_requests() -> bool {
    let mut any = false;
    let mut next = current();
    // SAFETY: I2. As in `with_dispatch`: the outer ones are further up on the stack.
    while let Some(dispatch) = unsafe { next.as_ref() } {
        any |= dispatch.watch.take_slice_end_request();
        next = dispatch.outer.get();
    }
    any
}

/// Ends the slices of this OS thread, which is in host code, including those of outer runs.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
pub(super) fn end_slices_in_host() {
    let mut next = current();
    // SAFETY: I2. As in `take_kicks`.
    while let Some(dispatch) = unsafe { next.as_ref() } {
        dispatch.watch.end_in_host();
        next = dispatch.outer.get();
    }
}

/// The youngest activation of a dispatching OS thread.
#[derive(Clone, Copy)]
pub(super) struct Base(tls::Ptr);

impl Base {
    /// This OS thread's, valid until it calls or leaves a guest.
    pub(super) fn now() -> Base {
        Base(tls::with(|state| state.map_or(ptr::null(), ptr::from_ref)))
    }
}

/// The current dispatch of this OS thread, until this is dropped.
///
/// Used in place, not by a function that calls another: the fiber is resumed in the same frame, as
/// after a stack switch the CPU mispredicts each return on the way up.
pub(super) struct Dispatching<'a>(&'a Dispatch);

impl Dispatch {
    /// A dispatch of a guest thread of `store` above `base`.
    #[inline(always)]
    pub(super) fn new(store: &mut StoreOpaque, base: Base) -> Dispatch {
        Dispatch {
            store: store.id(),
            vm_store_context: store.vm_store_context_ptr(),
            base: base.0,
            context: Cell::new(None),
            outer: Cell::new(ptr::null()),
            lowering: Cell::new(false),
            watch: store.watch(),
        }
    }

    /// Makes this the current dispatch. `resume_fiber` comes next.
    #[inline(always)]
    pub(super) fn begin(&self) -> Dispatching<'_> {
        enter(self);
        let dispatching = Dispatching(self);
        // With nothing dispatched, the handler had no dispatch whose slice it could end.
        #[cfg(all(
            target_os = "linux",
            any(target_arch = "aarch64", target_arch = "x86_64")
        ))]
        self.watch.take_slice_end_request();
        self.watch.arm();
        dispatching
    }
}

impl Drop for Dispatching<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let outer = self.0.outer.get();
        debug_assert!(ptr::eq(current(), self.0));
        leave(outer);
        // The outer dispatch may have been waiting for a signal.
        // SAFETY: I2. It is null, or further up on this OS thread's stack.
        if let Some(outer) = unsafe { outer.as_ref() } {
            outer.watch.arm();
        }
    }
}

/// Runs `call`, the body of a guest thread, suspending it through `context`.
pub(super) fn with_context<R>(
    context: &mut BlockingContext<'_, '_>,
    call: impl FnOnce() -> R,
) -> R {
    struct Reset;

    impl Drop for Reset {
        fn drop(&mut self) {
            replace_context(None);
        }
    }

    replace_context(Some(NonNull::from(context).cast()));
    let _reset = Reset;
    call()
}

/// Puts `context` into the current dispatch, if any.
fn replace_context(context: Option<Context>) -> Option<Context> {
    with_dispatch(|dispatch| dispatch.context.replace(context)).flatten()
}

/// The context of the running guest thread, taken: see [`take`].
pub(crate) struct Taken {
    context: Context,
    /// [`Dispatch::lowering`], put back with it.
    lowering: bool,
}

impl Taken {
    pub(crate) fn get_mut(&mut self) -> &mut BlockingContext<'static, 'static> {
        // SAFETY: I9. The pointer was made by `with_context` from a reference
        // that outlives the guest thread's activation and is not used by
        // anybody else until then, and this is the only copy of it. The
        // lifetimes are those of the context's own pointers, which are valid
        // while the fiber runs; `Taken` is only reachable from closures that
        // cannot keep them, as in `BlockingContext::with`.
        unsafe { self.context.as_mut() }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        with_dispatch(|dispatch| {
            dispatch.context.set(Some(self.context));
            dispatch.lowering.set(self.lowering);
        });
    }
}

/// Takes the context for suspending `store`'s running guest thread right here. `None` if no
/// guest thread is running, or it must not be suspended (I1).
#[inline(always)]
pub(crate) fn take(store: &StoreOpaque) -> Option<Taken> {
    where_suspendable(store, |dispatch| {
        Some(Taken {
            context: dispatch.context.take()?,
            lowering: dispatch.lowering.replace(false),
        })
    })
}

/// Whether [`take`] would succeed.
pub(crate) fn available(store: &StoreOpaque) -> bool {
    where_suspendable(store, |dispatch| dispatch.context.get()).is_some()
}

/// I1: calls `f` with the current dispatch, if the stack above it holds only a guest thread
/// of `store` in its first activation.
#[inline(always)]
fn where_suspendable<R>(store: &StoreOpaque, f: impl FnOnce(&Dispatch) -> Option<R>) -> Option<R> {
    store.running_thread()?;
    let if_suspendable = |dispatch: &Dispatch| {
        let in_first_activation = dispatch.store == store.id()
            && tls::with(|state| match state {
                Some(state) => ptr::eq(state, dispatch.base) || dispatch.is_own(state),
                None => dispatch.base.is_null(),
            });
        in_first_activation.then(|| f(dispatch)).flatten()
    };
    with_dispatch(if_suspendable).flatten()
}

/// Sets whether results of a host function are being lowered for the running guest thread.
#[cfg(feature = "component-model")]
pub(super) fn set_lowering(lowering: bool) {
    with_dispatch(|dispatch| dispatch.lowering.set(lowering));
}

/// Suspends a guest thread, and returns on its next turn.
///
/// # Errors
///
/// If it was cancelled while suspended: the caller must unwind.
#[inline(always)]
fn suspend(mut context: Taken) -> Result<()> {
    context.get_mut().suspend(StoreFiberYield::ReleaseStore)
}

/// Why a guest thread leaves the CPU before it has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Its slice is over.
    SliceOver,
    /// The run is over, or a thread must be ended, and slices are fuel and independent of
    /// time: the next dispatch continues this slice, before any other thread's.
    Paused,
    /// It yields or waits.
    Yielded,
}

/// Why, and where, a guest thread is suspended.
pub(super) struct Suspension {
    pub(super) why: Leave,
    /// Compiled code may have the fuel counter in a register here.
    pub(super) fuel_in_register: bool,
}

impl Suspension {
    pub(super) const PREEMPTED: Suspension = Suspension {
        why: Leave::SliceOver,
        fuel_in_register: true,
    };
    pub(super) const YIELDED: Suspension = Suspension {
        why: Leave::Yielded,
        fuel_in_register: true,
    };
}

/// Suspends the running guest thread, whose `context` this is, and returns on its next turn.
/// Every suspension that releases the store is made here, whether the thread is preempted,
/// yields, parks or pauses. Call hooks see it leave Wasm and come back.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook fails: the caller must unwind.
// Inlined, as are its callers: after a stack switch the CPU mispredicts each return on the
// way up.
#[inline(always)]
pub(super) fn preemptive_yield(
    store: &mut dyn VMStore,
    context: Taken,
    why: Suspension,
) -> Result<()> {
    // All four hooks are called, whichever of them fails: they come in pairs. To a hook, a
    // libcall is the host, as is the stub.
    #[cfg(feature = "call-hook")]
    let left = call_hooks(
        store,
        crate::CallHook::ReturningFromHost,
        crate::CallHook::ReturningFromWasm,
    );
    #[cfg(not(feature = "call-hook"))]
    let left = Ok(());
    let opaque = store.store_opaque_mut();
    if let Some(running) = opaque.running_thread_mut() {
        let here = 0_u8;
        running.left = why.why;
        running.left_at = ptr::from_ref(&here).addr();
        running.fuel_in_register = why.fuel_in_register;
    }
    // No thread is in a host call until this one resumes.
    let in_host = opaque.replace_in_host(0);
    let tasks = tasks::put_aside(opaque);
    let resumed = left.and_then(|()| suspend(context));
    let opaque = store.store_opaque_mut();
    tasks::put_back(opaque, tasks);
    opaque.replace_in_host(in_host);
    // Even if it was killed: unwinding leaves the host and Wasm once more.
    #[cfg(feature = "call-hook")]
    let resumed = resumed.and(call_hooks(
        store,
        crate::CallHook::CallingWasm,
        crate::CallHook::CallingHost,
    ));
    resumed
}

/// Calls two hooks for the running thread, which is suspended meanwhile in all but name.
#[cfg(feature = "call-hook")]
fn call_hooks(
    store: &mut dyn VMStore,
    first: crate::CallHook,
    second: crate::CallHook,
) -> Result<()> {
    let set_in_hooks = |store: &mut dyn VMStore, in_hooks| {
        if let Some(running) = store.store_opaque_mut().running_thread_mut() {
            running.in_hooks = in_hooks;
        }
    };
    set_in_hooks(store, true);
    let called = store.call_hook(first);
    let called = called.and(store.call_hook(second));
    set_in_hooks(store, false);
    called
}
