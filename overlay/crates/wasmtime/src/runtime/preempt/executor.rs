//! Runs as futures: an executor's task runs guest threads for a while each time that
//! it is polled, and gives the executor its turn in between.
//!
//! ```text
//!   poll ---> Run::go until --- over ----------------------> Ready
//!                           |-- the budget is used up -----> wakes itself, Pending
//!                           |-- all wait: sets an alarm ---> Pending
//!                           +-- one keeps the store -------> Pending
//! ```
//!
//! A future that wakes itself while it is polled goes to the back of the queue of tokio's
//! worker, and not into the slot of the task to run next, which a task woken by another
//! one gets.

use super::alarm::Alarm;
use super::budget::Busy;
use super::clock::Moment;
use super::dispatch::OnCpu;
use super::exit::OwnedExit;
use super::run::{Run, RunSummary, Stop};
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::{AsContextMut, Store};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::panic::{self, AssertUnwindSafe};

/// A run as a future: see [`Store::run_wasm_threads_async`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct RunWasmThreads<'a, T: 'static> {
    store: &'a mut Store<T>,
    time: Duration,
    /// Once it was polled.
    begun: Option<Begun>,
}

struct Begun {
    start: Moment,
    deadline: Option<Moment>,
    summary: RunSummary,
    /// The thread that keeps the store, which is on the CPU.
    kept: Option<Box<StoreFiber<'static>>>,
    alarm: Option<Alarm>,
}

impl<T: 'static> Store<T> {
    /// As [`Store::run_wasm_threads_for`], as a future: each poll runs guest threads for a
    /// while, at most 10 ms, and then lets the executor go on. `time` starts with the first
    /// poll; [`Duration::MAX`] sets no end.
    ///
    /// While all threads wait, so does the future. A thread that waits for an asynchronous
    /// host function ([`Func::wrap_async`](crate::Func::wrap_async)) keeps the store: the
    /// future is pending with it.
    ///
    /// This works in any executor, and without one. Timed waits are woken by an OS thread of
    /// this crate, one for the whole process, which ends when nothing waits. The future is
    /// `Send` if `T` is, and each poll may be on another OS thread: many stores use many
    /// cores.
    ///
    /// With [`Preemption::Fuel`](crate::Preemption::Fuel) a poll lasts until a slice is over
    /// or a guest comes back from a host function. That guest goes on with the rest of its
    /// slice in the next poll, so that the schedule is the same in each run.
    ///
    /// If the future is dropped between two polls, the store is as after a run whose time
    /// was up, except that a thread which kept the store is ended with
    /// [`Exit::Killed`](crate::Exit::Killed).
    ///
    /// # Errors
    ///
    /// As [`Store::run_wasm_threads_for`].
    pub fn run_wasm_threads_async(&mut self, time: Duration) -> RunWasmThreads<'_, T> {
        RunWasmThreads {
            store: self,
            time,
            begun: None,
        }
    }
}

impl<T: 'static> fmt::Debug for RunWasmThreads<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWasmThreads").finish_non_exhaustive()
    }
}

impl<T: 'static> Future for RunWasmThreads<'_, T> {
    type Output = Result<RunSummary>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = Moment::now();
        let begun = this.begun.get_or_insert_with(|| Begun {
            start: now,
            // A time that the clock cannot hold never comes.
            deadline: now.checked_add(this.time),
            summary: RunSummary::new(),
            kept: None,
            alarm: None,
        });
        begun.alarm = None;
        let deadline = begun.deadline;

        let store = this.store.as_context_mut().0;
        let mut run = match &begun.kept {
            Some(_) => Run::resume(store, now),
            None => Run::begin(store, now)?,
        };
        run.set_busy(Some(Busy::new()));
        let pause = now.saturating_add(Busy::budget());
        let end = deadline.map_or(pause, |deadline| deadline.min(pause));
        if let Err(error) = run.start_sources(Some(end)) {
            if begun.kept.is_some() {
                run.leave_kept();
            }
            return Poll::Ready(Err(error));
        }
        let stop = run.go(
            begun.kept.take(),
            deadline,
            Some(pause),
            cx.waker(),
            &mut begun.summary,
        );
        match stop? {
            Stop::Over(end) => {
                run.set_busy(None);
                begun.summary.end = end;
                begun.summary.elapsed = run.now.left(begun.start);
                Poll::Ready(Ok(begun.summary.clone()))
            }
            Stop::Paused => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stop::Kept(fiber) => {
                run.set_busy(None);
                let until = run.rest_kept(cx.waker());
                begun.kept = Some(fiber);
                run.leave_kept();
                match until {
                    Some(until) => begun.sleep(until, cx)?,
                    None => cx.waker().wake_by_ref(),
                }
                Poll::Pending
            }
            Stop::Idle(until) => {
                run.set_busy(None);
                begun.sleep(until, cx)?;
                Poll::Pending
            }
        }
    }
}

impl Begun {
    /// Has the task woken at `until`.
    fn sleep(&mut self, until: Option<Moment>, cx: &Context<'_>) -> Result<()> {
        if let Some(until) = until {
            self.alarm = Some(Alarm::set(until, cx.waker().clone())?);
        }
        Ok(())
    }
}

impl<T: 'static> Drop for RunWasmThreads<'_, T> {
    fn drop(&mut self) {
        let store = self.store.as_context_mut().0;
        if let Some(threads) = store.preempt_mut() {
            threads.remote.sleep_no_more();
            threads.busy = None;
        }
        let Some(fiber) = self.begun.as_mut().and_then(|begun| begun.kept.take()) else {
            return;
        };
        let mut run = Run::resume(store, Moment::now());
        // A panic of host code has been reported by the panic hook, and must not make a
        // destructor panic.
        let end = || {
            let thread = OnCpu::keep_on(run.store, fiber, run.now);
            run.now = thread.kill(OwnedExit::Killed);
            run.call_exit_hooks();
        };
        let _ = panic::catch_unwind(AssertUnwindSafe(end));
    }
}
