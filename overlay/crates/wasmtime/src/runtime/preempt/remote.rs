//! Requests from other OS threads to a store's guest threads: [`RemoteThread`].
//!
//! ```text
//!   any OS thread                         the OS thread of the run
//!
//!   kill
//!     requests <- (thread, Kill)
//!     pause: raises attention   ------->  end of a host call, where slices are fuel: a pause
//!     end_slice                             |
//!       |                                   |
//!       | of whoever is on the CPU          |
//!       v                                   |
//!     slice_end_requested <- true           |
//!     signal to the OS thread,  ------->  handler or check: the slice is over
//!     or a tick of the epoch                |
//!       ^                                   v
//!       | of this thread                  dispatch loop: carries out `requests`
//!       |
//!   preempt_now
//! ```
//!
//! A request is carried out when no thread is on the CPU, whichever thread it is for: before
//! the next dispatch, or by the next run. While a thread keeps the store, only a request to end
//! that thread is.

use super::id::ThreadId;
use super::slice::Preemption;
use super::source::interrupt::Interrupt;
use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use super::wait;
use crate::prelude::*;
use core::fmt;
use core::task::Waker;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

/// A guest thread's handle for any OS thread: see [`ThreadId::remote`].
///
/// Has no effect once the thread has finished or the store is gone.
#[derive(Clone)]
pub struct RemoteThread {
    id: ThreadId,
    remote: Arc<Remote>,
}

impl RemoteThread {
    pub(super) fn new(id: ThreadId, remote: Arc<Remote>) -> RemoteThread {
        RemoteThread { id, remote }
    }

    /// The thread's ID.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// Ends the thread, like [`ThreadId::kill`].
    ///
    /// Returns at once. Outside of a run, the next run ends the thread. During a run, it ends
    /// as soon as no thread is on the CPU: at once while all are parked. Otherwise the thread
    /// on the CPU, whether it is this one or a sibling, is interrupted for that:
    ///
    /// * in its own code, at once under [`Preemption::Signal`](crate::Preemption::Signal), at
    ///   the next check under [`Preemption::Epoch`](crate::Preemption::Epoch), and at the end of
    ///   its slice under [`Preemption::Fuel`](crate::Preemption::Fuel);
    /// * in a host function, when that returns. If the host function is asynchronous and
    ///   pending, the thread that called it can be ended at once, and its siblings cannot.
    pub fn kill(&self) {
        self.remote.ask(self.id, Request::Kill);
    }

    /// Ends the thread's slice if it is on the CPU, when [`kill`](Self::kill) would interrupt
    /// it. Does nothing under [`Preemption::Fuel`](crate::Preemption::Fuel), where slices end
    /// only when they are used up.
    pub fn preempt_now(&self) {
        self.remote
            .end_slice_if(|on_cpu| on_cpu == self.id.as_u64());
    }
}

impl fmt::Debug for RemoteThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteThread").field(&self.id).finish()
    }
}

/// Tells which guest thread of a store is on the CPU, where the store itself is out of reach: see
/// [`WasmThreads::thread_on_cpu`](super::WasmThreads::thread_on_cpu).
#[derive(Clone)]
pub struct ThreadOnCpu(Arc<Remote>);

impl ThreadOnCpu {
    pub(super) fn new(remote: Arc<Remote>) -> ThreadOnCpu {
        ThreadOnCpu(remote)
    }

    /// The thread on the CPU, if there is one.
    pub fn get(&self) -> Option<ThreadId> {
        match self.0.on_cpu.load(Ordering::Relaxed) {
            0 => None,
            id => Some(ThreadId(id)),
        }
    }
}

impl fmt::Debug for ThreadOnCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadOnCpu").field(&self.get()).finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Kill,
}

/// A store's mailbox. In cache lines of its own: each dispatch writes it.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Remote {
    any: AtomicBool,
    any_woken: AtomicBool,
    inbox: Mutex<Inbox>,
    /// Whether the thread on the CPU has it until the end of the run, as no other was ready
    /// when it was dispatched.
    alone: AtomicBool,
    /// The thread on the CPU, or 0.
    on_cpu: AtomicU64,
    /// The slice is over, whatever the clock says. The signal handler resets this.
    pub(super) slice_end_requested: AtomicBool,
    /// How to interrupt the current run.
    interrupt: Mutex<Interrupt>,
}

#[derive(Default)]
struct Inbox {
    requests: VecDeque<(ThreadId, Request)>,
    woken: Vec<ThreadId>,
    /// The run, if it sleeps because all threads are parked.
    sleeper: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    pub(super) fn ask(&self, id: ThreadId, request: Request) {
        let mut inbox = lock(&self.inbox);
        if !inbox.requests.contains(&(id, request)) {
            inbox.requests.push_back((id, request));
        }
        self.any.store(true, Ordering::SeqCst);
        Self::wake_sleeper(inbox);
        // Whichever thread is on the CPU: the run must see the request.
        self.pause();
        self.end_slice();
    }

    /// Makes `id` ready if it is parked.
    pub(super) fn wake(&self, id: ThreadId) {
        let mut inbox = lock(&self.inbox);
        // The running thread may wake itself any number of times before the run checks.
        if inbox.woken.last() != Some(&id) {
            inbox.woken.push(id);
        }
        self.any_woken.store(true, Ordering::SeqCst);
        Self::wake_sleeper(inbox);
        // A thread whose slice has an end leaves the CPU soon enough. `id` itself may be
        // about to park.
        let is_alone = || self.alone.load(Ordering::SeqCst);
        self.end_slice_if(|on_cpu| on_cpu != 0 && on_cpu != id.as_u64() && is_alone());
    }

    fn wake_sleeper(mut inbox: MutexGuard<'_, Inbox>) {
        let sleeper = inbox.sleeper.take();
        // An executor may do anything when woken.
        drop(inbox);
        if let Some(sleeper) = sleeper {
            wait::wake(sleeper);
        }
    }

    /// Whether there is a request. Cheap.
    pub(super) fn has_requests(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    /// How many requests there are.
    pub(super) fn asked(&self) -> usize {
        lock(&self.inbox).requests.len()
    }

    /// The first request. One at a time, as carrying it out may panic.
    pub(super) fn next_request(&self) -> Option<(ThreadId, Request)> {
        let mut inbox = lock(&self.inbox);
        let request = inbox.requests.pop_front();
        if inbox.requests.is_empty() {
            self.any.store(false, Ordering::SeqCst);
        }
        request
    }

    /// Takes the request to end `id`, if there is one.
    pub(super) fn take_kill_of(&self, id: ThreadId) -> bool {
        let mut inbox = lock(&self.inbox);
        let asked = inbox.requests.len();
        inbox
            .requests
            .retain(|request| *request != (id, Request::Kill));
        if inbox.requests.is_empty() {
            self.any.store(false, Ordering::SeqCst);
        }
        inbox.requests.len() < asked
    }

    /// Like [`sleep`](Self::sleep), for when only a request to end `id` can be carried out.
    pub(super) fn sleep_unless_killed(&self, id: ThreadId, sleeper: &Waker) -> bool {
        let mut inbox = lock(&self.inbox);
        let asked = inbox.requests.contains(&(id, Request::Kill));
        if !asked {
            inbox.sleeper = Some(sleeper.clone());
        }
        !asked
    }

    /// Whether a thread was woken. Cheap.
    pub(super) fn has_woken(&self) -> bool {
        self.any_woken.load(Ordering::SeqCst)
    }

    pub(super) fn take_woken(&self) -> Vec<ThreadId> {
        let mut inbox = lock(&self.inbox);
        self.any_woken.store(false, Ordering::SeqCst);
        core::mem::take(&mut inbox.woken)
    }

    /// Wakes `sleeper` as soon as anything arrives. `false` if something already has.
    pub(super) fn sleep(&self, sleeper: &Waker) -> bool {
        let mut inbox = lock(&self.inbox);
        let empty = inbox.requests.is_empty() && inbox.woken.is_empty();
        if empty {
            inbox.sleeper = Some(sleeper.clone());
        }
        empty
    }

    /// The run no longer sleeps.
    pub(super) fn sleep_no_more(&self) {
        lock(&self.inbox).sleeper = None;
    }

    /// Sets whether a wake must interrupt the thread on the CPU, as that has it to itself.
    pub(super) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::SeqCst);
    }

    /// `id` is now on the CPU. Its slice is over already if there is a request, or if it has
    /// the CPU to itself and a thread was woken: the waker may have seen no thread on the CPU
    /// to interrupt.
    #[inline]
    pub(super) fn start(&self, id: ThreadId, alone: bool, preemption: Preemption) {
        if preemption == Preemption::Fuel {
            // Nothing interrupts it, so nobody needs to see this in time.
            self.on_cpu.store(id.as_u64(), Ordering::Relaxed);
            return;
        }
        self.slice_end_requested.store(false, Ordering::Relaxed);
        // Another OS thread that reads `id` below sees this too.
        self.alone.store(alone, Ordering::Relaxed);
        self.on_cpu.store(id.as_u64(), Ordering::SeqCst);
        if self.has_requests() || (alone && self.has_woken()) {
            self.slice_end_requested.store(true, Ordering::SeqCst);
        }
    }

    /// No thread is on the CPU now.
    pub(super) fn stop(&self) {
        self.on_cpu.store(0, Ordering::Release);
    }

    /// Whether somebody has asked for the end of the slice since [`start`](Self::start).
    pub(super) fn slice_end_requested(&self) -> bool {
        self.slice_end_requested.load(Ordering::SeqCst)
    }

    pub(super) fn set_interrupt(&self, interrupt: Interrupt) {
        *lock(&self.interrupt) = interrupt;
    }

    /// Where slices are fuel and do not end for this, pauses the thread on the CPU, or the
    /// next one there: a dispatch may be about to begin.
    fn pause(&self) {
        // The store is not dropped while this is locked.
        lock(&self.interrupt).pause();
    }

    /// Ends the slice of the thread on the CPU, if any.
    pub(super) fn end_slice(&self) {
        self.end_slice_if(|on_cpu| on_cpu != 0);
    }

    /// Ends the slice of the thread on the CPU if it is `whom`.
    fn end_slice_if(&self, whom: impl Fn(u64) -> bool) {
        if !whom(self.on_cpu.load(Ordering::SeqCst)) {
            return;
        }
        // The run cannot end while this is locked, so its OS thread exists.
        let interrupt = lock(&self.interrupt);
        if !whom(self.on_cpu.load(Ordering::SeqCst)) {
            return;
        }
        // This comes first: code that sets a slice's end checks it afterwards.
        self.slice_end_requested.store(true, Ordering::SeqCst);
        interrupt.end_slice();
    }
}
