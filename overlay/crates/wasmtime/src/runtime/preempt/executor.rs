//! Runs as futures: each time an executor polls its task, the task runs guest threads for a
//! while and then yields to the executor.
//!
//! ```text
//!   poll ---> its turn? ------- not yet -------------------> wakes itself, Pending
//!               |
//!             Run::go until --- over ----------------------> Ready
//!                           |-- the budget is used up -----> wakes itself, Pending
//!                           |-- none ready: sets an alarm -> Pending
//!                           +-- one keeps the store -------> Pending
//! ```
//!
//! A future that wakes itself while being polled goes to the back of the tokio worker's
//! queue. It does not take the slot for the next task, which a task woken by another one
//! gets.

use super::alarm::Alarm;
use super::budget::{CpuShare, Credit};
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
    share: Option<CpuShare>,
    /// Set by the first poll.
    begun: Option<Begun>,
}

struct Begun {
    start: Moment,
    deadline: Option<Moment>,
    summary: RunSummary,
    /// The thread that keeps the store, still on the CPU.
    kept: Option<Box<StoreFiber<'static>>>,
    alarm: Option<Alarm>,
    credit: Credit,
}

impl<T: 'static> Store<T> {
    /// Like [`Store::run_wasm_threads_for`], but as a future. Each poll runs guest threads
    /// for about 10 ms at most, and then lets the executor go on: for less beside other runs, by
    /// their [shares](RunWasmThreads::share). A host function, or a slice of
    /// fuel, is not cut short for this. `time` starts at the first poll;
    /// [`Duration::MAX`] means no limit.
    ///
    /// While no thread is ready, the future is pending. A thread that waits for an
    /// asynchronous host function ([`Func::wrap_async`](crate::Func::wrap_async)) keeps the
    /// store, and the future is pending until that function completes.
    ///
    /// This works in any executor, and without one. One OS thread of this crate wakes the
    /// timed waits of the whole process, and ends when nothing waits. The future is `Send` if
    /// `T` is, and may be polled on a different OS thread each time: many stores can use many
    /// cores.
    ///
    /// With [`Preemption::Fuel`](crate::Preemption::Fuel), a poll lasts until a slice ends or
    /// a guest returns from a host function. That guest continues its slice in the next poll,
    /// so the schedule is the same in every run.
    ///
    /// If the future is dropped between two polls, the store is as after a run whose time was
    /// up, except that a thread that kept the store ends with
    /// [`Exit::Killed`](crate::Exit::Killed).
    ///
    /// # Errors
    ///
    /// The same as for [`Store::run_wasm_threads_for`].
    pub fn run_wasm_threads_async(&mut self, time: Duration) -> RunWasmThreads<'_, T> {
        RunWasmThreads {
            store: self,
            time,
            share: None,
            begun: None,
        }
    }
}

impl<T: 'static> RunWasmThreads<'_, T> {
    /// Gives this run a share of the CPU, relative to other such runs that the same worker of the
    /// executor polls in turn. Those that have the same share divide it: a tenant with many stores
    /// gets no more than one with a single store and a share of the same weight.
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use wasmtime::preempt::CpuShare;
    /// # use std::time::Duration;
    /// # async fn run(mut a: Store<()>, mut b: Store<()>, mut c: Store<()>) -> Result<()> {
    /// let (tenant, other) = (CpuShare::new(1)?, CpuShare::new(2)?);
    /// let a = a.run_wasm_threads_async(Duration::MAX).share(&tenant);
    /// let b = b.run_wasm_threads_async(Duration::MAX).share(&tenant);
    /// // Gets twice as much as these two together.
    /// let c = c.run_wasm_threads_async(Duration::MAX).share(&other);
    /// # drop((a, b, c));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What nobody else wants, it may have: a share is no limit. [`Tenant`](super::Tenant) is.
    /// Executors with several workers move a task to another worker if that has nothing to do,
    /// and not for the sake of shares.
    pub fn share(mut self, share: &CpuShare) -> Self {
        self.share = Some(share.clone());
        self
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
            // A deadline beyond the clock's range never comes.
            deadline: now.checked_add(this.time),
            summary: RunSummary::new(),
            kept: None,
            alarm: None,
            credit: Credit::default(),
        });
        begun.alarm = None;
        let deadline = begun.deadline;

        let store = this.store.as_context_mut().0;
        let mut run = match &begun.kept {
            Some(_) => Run::resume(store, now),
            None => Run::begin_poll(store, now)?,
        };
        let part = run.part_of_round(this.share.as_ref());
        let is_over = deadline.is_some_and(|deadline| deadline <= now);
        let pause = match begun.credit.earn(part) {
            Some(budget) => now.saturating_add(budget),
            // Only a run that has others beside it has to wait for another round.
            None if is_over || begun.kept.is_some() => now,
            None => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
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
        begun.credit.spend(run.now.left(now));
        match stop? {
            Stop::Over(end) => {
                run.idle();
                begun.summary.end = end;
                begun.summary.elapsed = run.now.left(begun.start);
                Poll::Ready(Ok(begun.summary.clone()))
            }
            Stop::Paused => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stop::Kept(fiber) => {
                run.idle();
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
                run.idle();
                begun.sleep(until, cx)?;
                Poll::Pending
            }
        }
    }
}

impl Begun {
    /// Sets an alarm that wakes the task at `until`.
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
        // The panic hook has already reported a panic in host code. It must not make a
        // destructor panic.
        let end = || {
            let thread = OnCpu::keep_on(run.store, fiber, run.now);
            run.now = thread.kill(OwnedExit::Killed);
            run.call_exit_hooks();
        };
        let _ = panic::catch_unwind(AssertUnwindSafe(end));
    }
}
