//! The OS threads that run Wasm, as `increment_epoch` sees them.
//!
//! I20: no deadline is missed. Two sides write one word and then read the other's:
//!
//! ```text
//!   OS thread, about to run Wasm           increment_epoch
//!
//!     its deadline = the store's             epoch += 1
//!     (compiler fence)                       membarrier
//!     epoch >= deadline ? interrupt          epoch >= its deadline ? signal
//! ```
//!
//! Without fences both could read the old values. The asymmetric barrier, `membarrier(2)`, is a
//! full fence on both sides: at one moment of it, every OS thread of the process has executed
//! one. If that was after the store of the deadline, the increment sees that. If it was
//! before, the load of the epoch is after it, and sees the new epoch. Where there is no
//! `membarrier`, every OS thread that has run such Wasm is signalled, also in the host: entering
//! the kernel is a fence as well, and its handler looks.
//!
//! The barrier takes time, so the increment looks twice. What it signals before the barrier it
//! need not signal again: the handler comes after the increment, and looks at what the OS thread
//! runs by then.
//!
//! An [`OsThread`] is never freed, so that a signal handler can walk the list. One that has
//! ended is used again for a new one.

use super::timed;
use crate::prelude::*;
use crate::runtime::preempt::fork;
use crate::runtime::preempt::source::signal::arch::thread_pointer;
use crate::runtime::preempt::source::signal::{armed, os_timer};
use crate::runtime::vm::VMStoreContext;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, compiler_fence, fence};
use std::boxed::Box;
use std::sync::Once;

/// How many OS threads an increment signals before its barrier, at most: it must not allocate.
const SIGNALLED_AT_ONCE: usize = 16;

/// Instead of a deadline: the OS thread is in the host. No epoch reaches it.
const IN_HOST: u64 = u64::MAX;

/// What an OS thread that runs Wasm says of itself to others.
pub(super) struct OsThread {
    /// The deadline of the store whose Wasm it runs.
    deadline: AtomicU64,
    /// That store's epoch counter, to be compared only.
    epoch: AtomicPtr<AtomicU64>,
    /// That store's context, for this OS thread only.
    context: AtomicPtr<VMStoreContext>,
    /// The deadlines in time of the stores whose calls it runs, for this OS thread only.
    timed: timed::List,
    /// Its ID, or 0 if it has ended.
    id: AtomicI32,
    /// Its [`thread_pointer`], or 0 if it has ended.
    thread_pointer: AtomicUsize,
    next: AtomicPtr<OsThread>,
}

static OS_THREADS: AtomicPtr<OsThread> = AtomicPtr::new(ptr::null_mut());

std::thread_local! {
    // Read by the signal handler: a constant initializer, and no destructor.
    static THIS_OS_THREAD: Cell<Option<&'static OsThread>> = const { Cell::new(None) };
    static GIVE_BACK: GiveBack = const { GiveBack };
}

struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(os_thread) = THIS_OS_THREAD.take() {
            os_thread.leave();
            os_thread.thread_pointer.store(0, Relaxed);
            os_thread.id.store(0, Release);
        }
    }
}

impl OsThread {
    /// The OS thread is about to run Wasm of a store with this deadline. The caller looks at
    /// the epoch next (I20).
    #[inline(always)]
    pub(super) fn enter(&self, context: NonNull<VMStoreContext>, epoch: &AtomicU64, deadline: u64) {
        self.context.store(context.as_ptr(), Relaxed);
        self.epoch.store(ptr::from_ref(epoch).cast_mut(), Relaxed);
        self.deadline.store(deadline, Release);
        compiler_fence(SeqCst);
    }

    /// Whether this is the OS thread that calls this.
    #[inline(always)]
    pub(super) fn is_this_thread(&self) -> bool {
        self.thread_pointer.load(Relaxed) == thread_pointer()
    }

    /// The OS thread is in the host.
    #[inline(always)]
    pub(super) fn leave(&self) {
        self.deadline.store(IN_HOST, Relaxed);
        compiler_fence(SeqCst);
    }

    /// The context of the store whose Wasm this OS thread runs, or is about to enter. `None` if
    /// it is in the host.
    pub(super) fn in_wasm(&self) -> Option<NonNull<VMStoreContext>> {
        match self.deadline.load(Relaxed) {
            IN_HOST => None,
            _ => NonNull::new(self.context.load(Relaxed)),
        }
    }

    pub(super) fn timed(&self) -> &timed::List {
        &self.timed
    }

    /// Sends it the signal, unless it has ended.
    fn signal(&self) {
        let id = self.id.load(Acquire);
        if id != 0 {
            os_timer::send(id);
        }
    }

    /// Whether the OS thread runs Wasm that has reached its deadline.
    fn is_due(&self, epoch: &AtomicU64, now: u64) -> bool {
        self.deadline.load(Acquire) <= now && ptr::eq(self.epoch.load(Relaxed), epoch)
    }
}

/// This OS thread, if it is in the list. May be called by a signal handler.
#[inline(never)] // see I2 in suspend.rs
pub(super) fn of_this_thread() -> Option<&'static OsThread> {
    THIS_OS_THREAD.get()
}

/// Adds this OS thread, which can receive the signal, to the list.
///
/// # Errors
///
/// If it is ending.
#[cold]
pub(super) fn acquire() -> Result<&'static OsThread> {
    ensure!(
        GIVE_BACK.try_with(|_| {}).is_ok(),
        "an OS thread that is ending cannot run Wasm whose epochs are delivered by signals"
    );
    // SAFETY: no preconditions.
    let id = unsafe { libc::gettid() };
    let os_thread = reuse(id).unwrap_or_else(|| add(id));
    // I20. Whoever enters Wasm loads the epoch after this. An increment has the other fence, before
    // it looks for OS threads and reads their IDs.
    fence(SeqCst);
    os_thread.thread_pointer.store(thread_pointer(), Relaxed);
    THIS_OS_THREAD.set(Some(os_thread));
    Ok(os_thread)
}

fn reuse(id: libc::pid_t) -> Option<&'static OsThread> {
    all().find(|os_thread| {
        os_thread
            .id
            .compare_exchange(0, id, SeqCst, Relaxed)
            .is_ok()
    })
}

fn add(id: libc::pid_t) -> &'static OsThread {
    let os_thread = Box::leak(Box::new(OsThread {
        deadline: AtomicU64::new(IN_HOST),
        epoch: AtomicPtr::new(ptr::null_mut()),
        context: AtomicPtr::new(ptr::null_mut()),
        timed: timed::List::new(),
        id: AtomicI32::new(id),
        thread_pointer: AtomicUsize::new(0),
        next: AtomicPtr::new(OS_THREADS.load(Relaxed)),
    }));
    let mut next = OS_THREADS.load(Relaxed);
    loop {
        os_thread.next.store(next, Relaxed);
        match OS_THREADS.compare_exchange_weak(next, os_thread, Release, Relaxed) {
            Ok(_) => return os_thread,
            Err(now) => next = now,
        }
    }
}

fn all() -> impl Iterator<Item = &'static OsThread> {
    // SAFETY: I21. What is in the list was leaked, and is never removed.
    let deref = |os_thread: *mut OsThread| unsafe { os_thread.as_ref() };
    let first = deref(OS_THREADS.load(Acquire));
    core::iter::successors(first, move |os_thread| deref(os_thread.next.load(Acquire)))
}

/// Signals the OS threads whose Wasm has reached its deadline by `epoch`, which has just been
/// incremented. May be called by a signal handler.
pub(super) fn signal_those_due(epoch: &AtomicU64) {
    // I20. The epoch is stored before the list is read, and the IDs in it.
    fence(SeqCst);
    if OS_THREADS.load(Acquire).is_null() {
        return;
    }
    // SAFETY: errno is this OS thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    let now = epoch.load(Relaxed);
    // Most are seen to be due without the barrier, which takes as long as a signal.
    let mut signalled = [ptr::null(); SIGNALLED_AT_ONCE];
    let due = all().filter(|os_thread| os_thread.is_due(epoch, now));
    for (os_thread, signalled) in due.zip(&mut signalled) {
        os_thread.signal();
        *signalled = ptr::from_ref(os_thread);
    }
    let fenced = barrier();
    for os_thread in all() {
        let is_due = !fenced || os_thread.is_due(epoch, now);
        if is_due && !signalled.contains(&ptr::from_ref(os_thread)) {
            os_thread.signal();
        }
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

const MEMBARRIER_CMD_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Lets this process use `membarrier`, where there is one, and looks after forks.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();

    fn forked() {
        // This OS thread has another id, and no other is here.
        let own = THIS_OS_THREAD.get();
        for os_thread in all() {
            if own.is_some_and(|own| ptr::eq(own, os_thread)) {
                // SAFETY: no preconditions.
                os_thread.id.store(unsafe { libc::gettid() }, Release);
                // Without a timer, a guest that the signal finds in a trampoline goes on until
                // the next increment.
                let _ = armed::ensure_timer();
                // SAFETY: I25. This OS thread has it.
                unsafe { os_thread.timed.look() };
            } else {
                os_thread.leave();
                os_thread.timed.forget();
                os_thread.thread_pointer.store(0, Relaxed);
                os_thread.id.store(0, Release);
            }
        }
        membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    }

    ONCE.call_once(|| {
        membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        fork::in_child(forked);
    });
}

/// I20: a full fence on every OS thread of this process. Returns false if there is none to be
/// had.
fn barrier() -> bool {
    fence(SeqCst);
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
