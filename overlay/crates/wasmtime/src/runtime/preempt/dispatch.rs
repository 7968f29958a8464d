//! The dispatch loop: pick, arm, resume, account, requeue.
//!
//! ```text
//!   run_for ---> pick the next ready thread  <------------------------+
//!                  |                                                  |
//!                  v                                                  |
//!                arm fuel, epochs and signals for its slice            |
//!                  |                                                  |
//!                  v                                                  |
//!   fiber        resume ----------------+                             |
//!   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|~~~~~~~~                     |
//!     guest code, libcalls, host code   |                             |
//!   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|~~~~~~~~                     |
//!                  +--------------------+                             |
//!                  |            |              |                      |
//!             KeepStore     ReleaseStore    finished                  |
//!          wait for a wake,  (preempted)       |                      |
//!          resume this one      |              v                      |
//!                               v           keep its exit             |
//!                             requeue          |                      |
//!                               +--------------+--> time up? ---no----+
//! ```
//!
//! The thread on the CPU has its fiber in the hands of [`OnCpu`] here. Whatever
//! happens, a panic of a host function included, `OnCpu` either gives the fiber
//! back to the store suspended or drops it finished (I12).

use super::blocking;
use super::exit::OwnedExit;
use super::wait::{Loan, Waiter};
use crate::fiber::{StoreFiber, StoreFiberYield, WasmtimeComplete, WasmtimeResume, resume_fiber};
use crate::prelude::*;
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::task::Context;
use core::time::Duration;
use std::time::Instant;

/// What a run did: see
/// [`Store::run_wasm_threads_for`](crate::Store::run_wasm_threads_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// Why it is over.
    pub end: RunEnd,
    /// How many times a thread was put on the CPU.
    pub dispatches: u64,
    /// How many slices were ended by the preemption source.
    pub preemptions: u64,
    /// How many threads finished.
    pub finished: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// No thread is left that has not finished.
    AllFinished,
    /// The time that it was given is up, and there are threads to run.
    TimeUp,
}

pub(super) fn run_for(store: &mut StoreOpaque, time: Duration) -> Result<RunSummary> {
    let start = Instant::now();
    // A time that the clock cannot hold never comes.
    let deadline = start.checked_add(time);
    let run = Run::begin(store)?;
    run.store.start_epochs(deadline)?;
    run.store.start_signals(start, deadline.map(|_| time))?;
    let waiter = Loan::new();

    let mut summary = RunSummary {
        end: RunEnd::AllFinished,
        dispatches: 0,
        preemptions: 0,
        finished: 0,
        elapsed: Duration::ZERO,
    };
    let mut now = start;
    loop {
        if deadline.is_some_and(|deadline| now >= deadline) {
            if run.anyone_ready() {
                summary.end = RunEnd::TimeUp;
            }
            break;
        }
        let Some(thread) = OnCpu::start_next(run.store, now) else {
            break;
        };
        summary.dispatches += 1;
        match thread.dispatch(&waiter, &mut now) {
            Stopped::Finished => summary.finished += 1,
            Stopped::Preempted => summary.preemptions += 1,
            Stopped::Yielded => {}
        }
    }
    summary.elapsed = now - start;
    Ok(summary)
}

/// Whether a run or a shutdown is on, so that there is at most one.
pub(super) struct Run<'a> {
    pub(super) store: &'a mut StoreOpaque,
}

impl<'a> Run<'a> {
    /// # Errors
    ///
    /// If one is on already.
    pub(super) fn begin(store: &'a mut StoreOpaque) -> Result<Run<'a>> {
        let threads = store.preemptive_threads()?;
        ensure!(
            !threads.in_run,
            "guest threads are being run already: a host function that one of \
             them called can spawn threads, and neither run nor shut them down"
        );
        threads.in_run = true;
        Ok(Run { store })
    }

    fn anyone_ready(&self) -> bool {
        self.store
            .preempt()
            .is_some_and(|threads| threads.anyone_ready())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.store.stop_epochs();
        self.store.stop_signals();
        self.store.disarm_fuel();
        if let Some(threads) = self.store.preempt_mut() {
            threads.in_run = false;
        }
    }
}

/// Why a thread is off the CPU.
enum Stopped {
    Finished,
    Preempted,
    Yielded,
}

/// The thread on the CPU, with its fiber.
pub(super) struct OnCpu<'a> {
    store: &'a mut StoreOpaque,
    /// `None` once the fiber was given back.
    fiber: Option<Box<StoreFiber<'static>>>,
    since: Instant,
}

impl<'a> OnCpu<'a> {
    fn start_next(store: &'a mut StoreOpaque, now: Instant) -> Option<OnCpu<'a>> {
        let fiber = store.preempt_mut().as_mut()?.start_next()?;
        store.resume_fuel();
        store.arm_epoch(now);
        store.start_signal_slice(now);
        Some(OnCpu {
            store,
            fiber: Some(fiber),
            since: now,
        })
    }

    /// The next thread in the queue, to be killed.
    pub(super) fn start_killing(store: &'a mut StoreOpaque) -> Option<OnCpu<'a>> {
        let fiber = store.preempt_mut().as_mut()?.start_next()?;
        store.resume_fuel();
        Some(OnCpu {
            store,
            fiber: Some(fiber),
            since: Instant::now(),
        })
    }

    /// Runs the thread until it leaves the CPU, at `now`.
    fn dispatch(mut self, waiter: &Waiter, now: &mut Instant) -> Stopped {
        let complete = loop {
            waiter.reset();
            let mut cx = Context::from_waker(waiter.waker());
            // The context is not used after this resume is over: the fiber drops
            // it when it suspends.
            let cx = NonNull::from(&mut cx).cast::<Context<'static>>();
            match self.resume(Ok(cx)) {
                Ok(complete) => break Some(complete),
                Err(StoreFiberYield::ReleaseStore) => break None,
                // A host future has borrowed the store. Nobody else may have it,
                // not even the embedder, so the run cannot end here either.
                Err(StoreFiberYield::KeepStore) => waiter.wait(),
            }
        };
        *now = Instant::now();
        match complete {
            Some(Ok(())) => self.finish(None, *now),
            Some(Err(error)) => self.finish(Some(OwnedExit::Trapped(error)), *now),
            None => {
                let preempted = self.stop(*now);
                return if preempted {
                    Stopped::Preempted
                } else {
                    Stopped::Yielded
                };
            }
        }
        Stopped::Finished
    }

    /// Unwinds the thread's stack, wherever it is suspended, and ends it.
    pub(super) fn kill(mut self) {
        // A thread that was cancelled never suspends again: everything on its
        // stack is Wasmtime's, and hands the error up. So this finishes it.
        let cancelled = format_err!("guest thread killed");
        let result = self.resume(Err(cancelled));
        debug_assert!(result.is_ok());
        let now = Instant::now();
        self.finish(Some(OwnedExit::Killed), now);
    }

    fn resume(&mut self, with: WasmtimeResume) -> Result<WasmtimeComplete, StoreFiberYield> {
        let OnCpu { store, fiber, .. } = self;
        let Some(fiber) = fiber else {
            return Ok(Err(crate::bug!("a guest thread without a fiber").into()));
        };
        blocking::dispatching(store, |store| resume_fiber(store, fiber, with))
    }

    /// Gives the fiber back, suspended. Returns whether its slice was over.
    fn stop(mut self, now: Instant) -> bool {
        let fuel_held = self.store.suspend_fuel();
        match (self.fiber.take(), self.store.preempt_mut()) {
            (Some(fiber), Some(threads)) => {
                threads.stop_running(fiber, fuel_held, now - self.since)
            }
            _ => false,
        }
    }

    fn finish(mut self, exit: Option<OwnedExit>, now: Instant) {
        // Its stack is back with the store: `resume_fiber` has seen to it.
        self.fiber = None;
        self.store.count_thread_fuel();
        if let Some(threads) = self.store.preempt_mut() {
            threads.finish(exit, now - self.since);
        }
    }
}

impl Drop for OnCpu<'_> {
    fn drop(&mut self) {
        if self.fiber.is_none() {
            return;
        }
        // A host function has panicked, and the panic has finished the fiber. It
        // goes on to the embedder; the thread is over.
        self.fiber = None;
        self.store.count_thread_fuel();
        if let Some(threads) = self.store.preempt_mut() {
            let exit = OwnedExit::Trapped(format_err!("a host function panicked"));
            threads.finish(Some(exit), self.since.elapsed());
        }
    }
}
