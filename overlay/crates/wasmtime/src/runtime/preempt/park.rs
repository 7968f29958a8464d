//! Parked guest threads: what they wait for, and how they are woken.
//!
//! ```text
//!   on the thread's fiber                    any OS thread
//!
//!   poll a future, queue for an atomic
//!     | not ready: keeps the thread's waker ----> wake
//!     v                                            |
//!   park() --- suspends the fiber                  v
//!                |                               Inbox (remote.rs)
//!                v                                 |
//!   dispatch loop: Parked  <--- time is up, -------+
//!                |              joined thread ended
//!                v
//!              Ready ---> dispatched: looks again at what it waits for
//! ```
//!
//! A wake may be spurious. One that arrives before the thread is parked makes the thread
//! yield instead. So the caller of `park` checks again when it returns.

use super::clock::Moment;
use super::id::ThreadId;
use super::suspend::{self, Leave, Suspension, Taken, preemptive_yield};
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use core::fmt;
use core::task::Waker;
use std::time::Instant;

/// What a guest thread waits for: see [`ThreadInfo::waits_for`](crate::preempt::ThreadInfo::waits_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitFor {
    /// A point in time.
    Time(Instant),
    /// Another guest thread's end.
    Thread(ThreadId),
    /// A notification of the atomic at this address of a shared memory.
    Atomic(u64),
    /// A component instance, which this guest thread is in.
    Component(ThreadId),
    /// The future of a concurrent host function.
    Future,
    /// Time on the CPU, as it has used up what its rate, its group's or its tenant's allows: it
    /// goes on at this point in time.
    CpuRate(Instant),
}

impl fmt::Display for WaitFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitFor::Time(_) => f.write_str("a point in time"),
            WaitFor::Thread(id) => write!(f, "guest thread {id}"),
            WaitFor::Atomic(address) => write!(f, "the atomic at {address:#x}"),
            WaitFor::Component(id) => {
                write!(f, "a component instance that guest thread {id} is in")
            }
            WaitFor::Future => f.write_str("a host function"),
            WaitFor::CpuRate(_) => f.write_str("its CPU rate"),
        }
    }
}

/// What a parked thread waits for.
#[derive(Debug, Default)]
pub(super) struct Park {
    /// When to wake it at the latest.
    pub(super) until: Option<Moment>,
    /// The threads whose end wakes it.
    pub(super) joins: Vec<ThreadId>,
    /// The thread that is in the component instance which it is to enter.
    pub(super) component: Option<ThreadId>,
    /// The atomic's address, and whether anyone but this store's guest threads may notify it.
    pub(super) atomic: Option<(u64, bool)>,
    /// Whether it waits for time on the CPU, and for nothing else.
    pub(super) throttled: bool,
}

/// The waker of the running thread, with earlier wakes forgotten. A nested entry keeps them,
/// as they may be for the thread's own code.
pub(super) fn fresh_waker(store: &mut dyn VMStore) -> Option<Waker> {
    let in_own_code = suspend::available(store);
    let waker = store.preempt_mut().as_mut()?.running_waker()?;
    if in_own_code {
        waker.reset();
    }
    Some(Waker::from(waker))
}

/// Suspends the running guest thread, whose `context` this is, until it is woken, and returns
/// on its turn.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook fails: the caller must unwind.
pub(super) fn park(store: &mut dyn VMStore, context: Taken, park: Park) -> Result<()> {
    if let Some(running) = store.running_thread_mut() {
        running.park = Some(Box::new(park));
    }
    let why = Suspension {
        why: Leave::Yielded,
        fuel_in_register: false,
    };
    preemptive_yield(store, context, why)
}

/// The context for parking the running guest thread right here.
///
/// # Errors
///
/// If it cannot be parked, as it came back in through a host function.
pub(super) fn take_context(store: &mut dyn VMStore, to_wait_for: &str) -> Result<Taken> {
    suspend::take(store).with_context(|| {
        format!(
            "a guest thread cannot wait for {to_wait_for} in a function that a host function \
             has called: that one, and with it all guest threads, would have to wait; it can \
             in its own code"
        )
    })
}
