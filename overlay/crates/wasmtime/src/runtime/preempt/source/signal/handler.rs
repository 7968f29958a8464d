//! The signal handler (I5).

use super::arch::frame::Interrupted;
use super::armed;
use super::os_timer::{SIGNAL, token};
use crate::prelude::*;
use crate::runtime::preempt::clock::{Moment, NEVER};
use crate::runtime::preempt::epoch_delivery::deliver;
use crate::runtime::preempt::suspend::{self, Dispatch};
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::io;
use std::sync::{Mutex, PoisonError};

/// The signal's previous action. Leaked, as the handler may read it at any time.
static PREVIOUS: AtomicPtr<Previous> = AtomicPtr::new(ptr::null_mut());

struct Previous {
    action: libc::sigaction,
    /// Whether it was called, which `SA_RESETHAND` allows once.
    called: AtomicBool,
    /// The action before that, from when our handler was last installed.
    older: *const Previous,
}

/// Held while installing the handler.
static INSTALL: Mutex<()> = Mutex::new(());

std::thread_local! {
    /// The foreign signal that is being passed on, as its context's address, and how many
    /// times it was passed on already. A handler installed over ours passes signals on to ours,
    /// which passes them on to an older one.
    static HANDED_ON: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// # Errors
///
/// If the handler cannot be installed, or this OS thread blocks the signal.
pub(super) fn ensure_installed() -> Result<()> {
    ensure_unblocked()?;
    if is_installed()? {
        return Ok(());
    }
    let _guard = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
    if is_installed()? {
        return Ok(());
    }
    // SAFETY: a `sigaction` is plain data, for which zero is valid.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // On the alternate stack, as the guest's may be nearly full, and the kernel's frame takes
    // kilobytes. The host's system calls are restarted.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action.sa_sigaction = address();
    // SAFETY: as above, and the pointers are to locals.
    let mut previous: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the handler is what `SA_SIGINFO` asks for.
    if unsafe { libc::sigaction(SIGNAL, &action, &mut previous) } != 0 {
        return Err(io::Error::last_os_error())
            .context("cannot install the handler of SIGURG, which `Preemption::Signal` needs");
    }
    if previous.sa_sigaction != address() {
        let previous = Box::new(Previous {
            action: previous,
            called: AtomicBool::new(false),
            older: PREVIOUS.load(Ordering::Acquire),
        });
        PREVIOUS.store(Box::into_raw(previous), Ordering::Release);
    }
    Ok(())
}

fn address() -> usize {
    (handle as *const ()).expose_provenance()
}

fn is_installed() -> Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the pointer is to a local, which is written if this succeeds.
    let action = unsafe {
        if libc::sigaction(SIGNAL, ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error().into());
        }
        action.assume_init()
    };
    Ok(action.sa_sigaction == address())
}

fn ensure_unblocked() -> Result<()> {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointers are null or to a local, which is written.
    let blocked = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
        libc::sigismember(mask.as_ptr(), SIGNAL) == 1
    };
    ensure!(
        !blocked,
        "SIGURG is blocked on this OS thread, so `Preemption::Signal` cannot preempt \
         guests here: unblock it with `pthread_sigmask`, or use `Preemption::Epoch`"
    );
    Ok(())
}

unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: I5. The kernel gives a handler valid pointers, and `si_value` is
    // what such signals have.
    let ours = unsafe {
        matches!((*info).si_code, libc::SI_TIMER | libc::SI_QUEUE)
            && (*info).si_value().sival_ptr == token()
    };
    // SAFETY: errno is this OS thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    // The kernel drops a timer's signal if another is pending, which then stands for both.
    let end_requested = suspend::take_slice_end_requests();
    // SAFETY: I5. This is what the kernel gave to this handler.
    let mut interrupted = unsafe { Interrupted::new(context) };
    if ours || end_requested || armed::is_due() {
        armed::fired();
        on_timer(&mut interrupted);
    }
    // Even for a foreign signal: ours is dropped if that is pending.
    // SAFETY: I5. This is the handler.
    unsafe { deliver::on_signal(&mut interrupted) };
    if !ours {
        // SAFETY: the arguments are those that the kernel gave.
        unsafe { hand_on(signal, info, context) };
    }
    // SAFETY: as above. The interrupted code may be about to look at it.
    unsafe { *errno = saved };
}

/// The OS thread's timer has fired.
fn on_timer(interrupted: &mut Interrupted<'_>) {
    suspend::with_dispatch(|dispatch| {
        let now = Moment::now().as_nanos();
        // SAFETY: I5. This is the handler, and `interrupted` is what it stopped.
        let preempt = || unsafe { preempt(dispatch, interrupted) };
        dispatch
            .watch
            .on_signal(now, preempt, || dispatch.is_in_host());
    });
}

/// Preempts the guest thread of `dispatch` if it was interrupted in its own code, in a function
/// that holds no references (I3).
///
/// # Safety
///
/// Called by a signal handler that has interrupted `interrupted` on this OS thread.
unsafe fn preempt(dispatch: &Dispatch, interrupted: &mut Interrupted<'_>) -> bool {
    let watch = &dispatch.watch;
    // SAFETY: I5. The list is null, or kept by the store that is dispatched.
    let code = unsafe { watch.code.load(Ordering::Relaxed).as_ref() };
    // In this order: the activations are stable only under a Wasm function.
    match code.and_then(|code| code.function_at(interrupted.pc())) {
        Some(function) if !function.polls && dispatch.is_in_own_code() => {
            // SAFETY: I6. All of it has just been looked at.
            let called = unsafe { interrupted.call_stub(&function.range) };
            if called {
                watch.slice_end.store(NEVER, Ordering::Relaxed);
            }
            called
        }
        _ => false,
    }
}

/// For tests: preempts a guest thread, or a guest whose epoch deadline is reached, at the exact instruction that the test's own signal
/// handler interrupted. Returns whether it was in the thread's own code, and not in a function
/// that polls: then its slice ends at the next poll.
///
/// # Safety
///
/// `context` is what the kernel gave to that handler.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub unsafe fn interrupt(context: *mut libc::c_void) -> bool {
    // SAFETY: this function's own contract.
    let mut interrupted = unsafe { Interrupted::new(context) };
    let pc = interrupted.pc();
    // SAFETY: this function's own contract.
    unsafe { deliver::on_signal(&mut interrupted) };
    if interrupted.pc() != pc {
        return true;
    }
    let preempted = suspend::with_dispatch(|dispatch| {
        // SAFETY: this function's own contract.
        let preempted = unsafe { preempt(dispatch, &mut interrupted) };
        // SAFETY: I5. As in `preempt`.
        let code = unsafe { dispatch.watch.code.load(Ordering::Relaxed).as_ref() };
        let function = code.and_then(|code| code.function_at(interrupted.pc()));
        if function.is_some_and(|function| function.polls) {
            dispatch.watch.end_in_host();
        }
        preempted
    });
    preempted == Some(true)
}

/// Passes a signal that is not ours to the previous handler, as the kernel would: with the signals
/// blocked that it wants blocked, and only once if it wants that.
///
/// # Safety
///
/// The arguments are those that the kernel gave to a handler.
unsafe fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let outer = HANDED_ON.get();
    // With `SA_NODEFER`, another signal may come while one is being passed on.
    let depth = match outer {
        (same, depth) if same == context.addr() => depth,
        _ => 0,
    };
    let mut previous: *const Previous = PREVIOUS.load(Ordering::Acquire);
    for _ in 0..depth {
        // SAFETY: null, or leaked by `ensure_installed`.
        previous = unsafe { previous.as_ref() }.map_or(ptr::null(), |previous| previous.older);
    }
    // SAFETY: as above.
    let Some(Previous { action, called, .. }) = (unsafe { previous.as_ref() }) else {
        return;
    };
    if action.sa_sigaction == libc::SIG_DFL || action.sa_sigaction == libc::SIG_IGN {
        return;
    }
    let called = called.swap(true, Ordering::Relaxed);
    if called && action.sa_flags & libc::SA_RESETHAND != 0 {
        // The default is to ignore it.
        return;
    }
    HANDED_ON.set((context.addr(), depth + 1));
    let mask = MaskedFor::handler(action, signal);
    // SAFETY: it was installed as a handler of one of these two types.
    unsafe {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                mem::transmute(action.sa_sigaction);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(libc::c_int) = mem::transmute(action.sa_sigaction);
            handler(signal);
        }
    }
    drop(mask);
    HANDED_ON.set(outer);
}

/// The signals that this OS thread had blocked, to be restored.
struct MaskedFor(libc::sigset_t);

impl MaskedFor {
    /// Blocks what the kernel would for a handler of `signal` with this `action`. `signal` is
    /// blocked, as our own handler is running.
    fn handler(action: &libc::sigaction, signal: libc::c_int) -> MaskedFor {
        let mut before = MaybeUninit::uninit();
        // SAFETY: the pointers are to locals and to the action, or null; `pthread_sigmask`
        // writes `before`, and a handler may call it.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, before.as_mut_ptr());
            if action.sa_flags & libc::SA_NODEFER != 0
                && libc::sigismember(&action.sa_mask, signal) == 0
            {
                let mut only: libc::sigset_t = mem::zeroed();
                libc::sigemptyset(&mut only);
                libc::sigaddset(&mut only, signal);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &only, ptr::null_mut());
            }
            MaskedFor(before.assume_init())
        }
    }
}

impl Drop for MaskedFor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}
