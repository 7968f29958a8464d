//! An OS thread's timer: system calls.
//!
//! The timer is created by the OS thread's first run, and deleted when the OS thread ends. It
//! is left set between dispatches and after runs: see `armed.rs`.

use crate::prelude::*;
use crate::runtime::preempt::clock::NEVER;
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};
use std::io;
use std::sync::Arc;

/// Carried by our timers' signals, to tell them from others.
pub(super) static TOKEN: u8 = 0;

pub(super) const SIGNAL: libc::c_int = libc::SIGURG;

std::thread_local! {
    // No destructors, and constant initializers, because the handler reads these.
    static TIMER: Cell<Option<libc::timer_t>> = const { Cell::new(None) };
    /// The process that created it: `fork` copies these, but no timers.
    static OWNER: Cell<libc::pid_t> = const { Cell::new(0) };
    // For the rest of the OS thread. Deletes what the others name.
    static OWN: Own = Own(Arc::new(Target(AtomicI32::new(this_thread()))));
}

/// An OS thread to send signals to. In a forked process it has another id.
pub(in crate::runtime::preempt) struct Target(AtomicI32);

impl Target {
    pub(in crate::runtime::preempt) fn signal(&self) {
        send(self.0.load(Ordering::Relaxed));
    }
}

struct Own(Arc<Target>);

impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: no preconditions.
        if OWNER.get() != unsafe { libc::getpid() } {
            return;
        }
        if let Some(timer) = TIMER.take() {
            // SAFETY: I5. This is the OS thread's own timer, and the last use.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

fn this_thread() -> libc::pid_t {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

/// This OS thread, for others to send it signals.
///
/// # Errors
///
/// If it is ending.
pub(super) fn target() -> Result<Arc<Target>> {
    OWN.try_with(|own| own.0.clone())
        .map_err(|_| format_err!("guest threads cannot be run by an OS thread that is ending"))
}

#[inline(never)] // see I2 in suspend.rs
pub(super) fn exists() -> bool {
    TIMER.get().is_some()
}

/// In a forked process: another one has the timer. Returns whether there was one.
pub(super) fn forget() -> bool {
    TIMER.take().is_some()
}

/// Makes sure that this OS thread has a timer. Returns whether it is a new one, not yet set.
pub(super) fn ensure() -> Result<bool> {
    if exists() {
        return Ok(false);
    }
    // SAFETY: no preconditions.
    let process = unsafe { libc::getpid() };
    let target = target()?;
    let thread = this_thread();
    target.0.store(thread, Ordering::Relaxed);
    // SAFETY: a `sigevent` is plain data, for which zero is valid.
    let mut event: libc::sigevent = unsafe { mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = SIGNAL;
    event.sigev_value.sival_ptr = token();
    event.sigev_notify_thread_id = thread;
    let mut timer = MaybeUninit::uninit();
    // SAFETY: both pointers are to locals, and the second is written.
    let result =
        unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error())
            .context("cannot make a timer for this OS thread, which `Preemption::Signal` needs");
    }
    // SAFETY: `timer_create` has succeeded.
    TIMER.set(Some(unsafe { timer.assume_init() }));
    OWNER.set(process);
    Ok(true)
}

/// Sends the signal to `thread`, an OS thread of this process, carrying a timer's value.
pub(in crate::runtime::preempt) fn send(thread: libc::pid_t) {
    /// `siginfo_t`, as it is for `SI_QUEUE`.
    #[repr(C)]
    struct Info {
        signal: libc::c_int,
        errno: libc::c_int,
        code: libc::c_int,
        padding: libc::c_int,
        process: libc::pid_t,
        user: libc::uid_t,
        value: *mut libc::c_void,
        rest: [u64; 12],
    }
    const _: () = assert!(mem::size_of::<Info>() == mem::size_of::<libc::siginfo_t>());

    // SAFETY: no preconditions.
    let (process, user) = unsafe { (libc::getpid(), libc::getuid()) };
    let info = Info {
        signal: SIGNAL,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        process,
        user,
        value: token(),
        rest: [0; 12],
    };
    // SAFETY: the kernel reads `info`, which is as large as it takes. If there is no
    // such thread, that is an error.
    unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            process,
            thread,
            SIGNAL,
            &raw const info,
        )
    };
}

pub(super) fn token() -> *mut libc::c_void {
    ptr::from_ref(&TOKEN).cast_mut().cast()
}

/// Sets the timer of this OS thread, if it has one. Async-signal-safe.
pub(super) fn set(time: u64) {
    let Some(timer) = TIMER.get() else {
        return;
    };
    let value = if time == NEVER { 0 } else { time.max(1) };
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let setting = libc::itimerspec {
        it_interval: zero,
        it_value: libc::timespec {
            tv_sec: libc::time_t::try_from(value / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::try_from(value % 1_000_000_000).unwrap_or(0),
        },
    };
    // SAFETY: I5. The timer is this OS thread's own, and the pointers are to
    // locals. This is one of the functions that a handler may call.
    unsafe { libc::timer_settime(timer, libc::TIMER_ABSTIME, &setting, ptr::null_mut()) };
}
