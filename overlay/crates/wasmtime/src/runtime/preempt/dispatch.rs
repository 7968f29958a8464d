//! The dispatch loop: pick, arm, resume, account, requeue.
//!
//! ```text
//!   run_for ---> end who is to be ended: asked for, out of time        |
//!                  |                                                  |
//!                pick the next ready thread  <------------------------+
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
//!                requeue; over a limit: end it  |                      |
//!                               +--------------+--> time up? ---no----+
//! ```
//!
//! The thread on the CPU has its fiber in the hands of [`OnCpu`] here. Whatever
//! happens, a panic of a host function included, `OnCpu` either gives the fiber
//! back to the store suspended or drops it finished (I12).

use super::blocking;
use super::exit::OwnedExit;
use super::limits::OverLimit;
use super::remote::Request;
use super::thread::ThreadId;
use super::threads::Off;
use super::wait::{Loan, Waiter};
use crate::fiber::{StoreFiber, StoreFiberYield, WasmtimeComplete, WasmtimeResume, resume_fiber};
use crate::prelude::*;
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::task::Context;
use core::time::Duration;
use std::panic::{self, AssertUnwindSafe};
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
    /// All threads that have not finished are suspended.
    AllSuspended,
}

pub(super) fn run_for(store: &mut StoreOpaque, time: Duration) -> Result<RunSummary> {
    let start = Instant::now();
    // A time that the clock cannot hold never comes.
    let deadline = start.checked_add(time);
    let mut run = Run::begin(store, start)?;
    run.store.start_epochs(deadline)?;
    run.store.start_signals(start, deadline.map(|_| time))?;
    let waiter = Loan::new();
    if let Some(threads) = run.store.preempt_mut() {
        threads.start_run(start);
    }

    let mut summary = RunSummary {
        end: RunEnd::AllFinished,
        dispatches: 0,
        preemptions: 0,
        finished: 0,
        elapsed: Duration::ZERO,
    };
    loop {
        summary.finished += run.end_those_due();
        if deadline.is_some_and(|deadline| run.now >= deadline) {
            if run.anyone_ready() {
                summary.end = RunEnd::TimeUp;
            }
            break;
        }
        let Some(thread) = OnCpu::start_next(run.store, run.now)? else {
            break;
        };
        summary.dispatches += 1;
        match thread.dispatch(&waiter, &mut run.now) {
            None => summary.finished += 1,
            Some(off) => {
                summary.preemptions += u64::from(off.preempted);
                if off.limited {
                    summary.finished += run.enforce_limits(off.id);
                }
            }
        }
    }
    if summary.end == RunEnd::AllFinished && run.anyone_live() {
        summary.end = RunEnd::AllSuspended;
    }
    summary.elapsed = run.now - start;
    Ok(summary)
}

/// Ends `id`: at once, or, if a run is on, in it.
///
/// # Errors
///
/// If there is no such thread, or it has finished.
pub(super) fn kill(store: &mut StoreOpaque, id: ThreadId) -> Result<()> {
    let threads = store.preemptive_threads()?;
    threads.ensure_live(id, "killed")?;
    if threads.in_run {
        threads.remote.ask(id, Request::Kill);
        return Ok(());
    }
    Run::begin(store, Instant::now())?.end(id, None);
    Ok(())
}

/// Whether a run or a shutdown is on, so that there is at most one.
pub(super) struct Run<'a> {
    pub(super) store: &'a mut StoreOpaque,
    /// When the last thread went off the CPU.
    pub(super) now: Instant,
}

impl<'a> Run<'a> {
    /// # Errors
    ///
    /// If one is on already.
    pub(super) fn begin(store: &'a mut StoreOpaque, now: Instant) -> Result<Run<'a>> {
        let threads = store.preemptive_threads()?;
        ensure!(
            !threads.in_run,
            "guest threads are being run already: a host function that one of \
             them called can spawn threads, and neither run nor shut them down"
        );
        threads.in_run = true;
        Ok(Run { store, now })
    }

    fn anyone_ready(&self) -> bool {
        self.store
            .preempt()
            .is_some_and(|threads| threads.anyone_ready())
    }

    fn anyone_live(&self) -> bool {
        self.store
            .preempt()
            .is_some_and(|threads| threads.anyone_live())
    }

    /// Ends the threads that somebody has asked to end, and those that are over their
    /// wall time limit. Returns how many.
    fn end_those_due(&mut self) -> u64 {
        let mut ended = 0;
        if let Some(threads) = self.store.preempt()
            && threads.remote.anything_asked()
        {
            for (id, Request::Kill) in threads.remote.take_requests() {
                ended += self.end(id, None);
            }
        }
        loop {
            let Some(threads) = self.store.preempt_mut() else {
                return ended;
            };
            let Some((id, over)) = threads.timed_out(self.now) else {
                return ended;
            };
            ended += self.end(id, Some(over));
        }
    }

    /// Ends `id` if it is over a limit, and calls the hook if that is a soft one.
    /// Returns how many threads were ended.
    fn enforce_limits(&mut self, id: ThreadId) -> u64 {
        let Some(threads) = self.store.preempt_mut() else {
            return 0;
        };
        if let Some(soft) = threads.soft_limit(id)
            && let Some(mut hook) = threads.limit_hook.take()
        {
            // SAFETY: I13. This is the store that `self` has borrowed, and nothing else
            // of the borrow is used until the hook returns.
            let call = || hook(unsafe { self.store.traitobj().as_mut() }, soft);
            let result = panic::catch_unwind(AssertUnwindSafe(call));
            self.now = Instant::now();
            if let Some(threads) = self.store.preempt_mut() {
                threads.limit_hook.get_or_insert(hook);
            }
            if let Err(error) = result.unwrap_or_else(|panic| panic::resume_unwind(panic)) {
                return self.end_with(id, OwnedExit::Trapped(error));
            }
        }
        match self.store.preempt().and_then(|t| t.over_limit(id)) {
            Some(over) => self.end(id, Some(over)),
            None => 0,
        }
    }

    /// Ends `id`, wherever it is suspended, if it has not finished.
    fn end(&mut self, id: ThreadId, over: Option<OverLimit>) -> u64 {
        let exit = over.map_or(OwnedExit::Killed, OwnedExit::OverLimit);
        self.end_with(id, exit)
    }

    fn end_with(&mut self, id: ThreadId, exit: OwnedExit) -> u64 {
        match OnCpu::start_ending(self.store, id, self.now) {
            Some(thread) => {
                self.now = thread.kill(exit);
                1
            }
            None => 0,
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.store.stop_epochs();
        self.store.stop_signals();
        self.store.disarm_fuel();
        if let Some(threads) = self.store.preempt_mut() {
            threads.in_run = false;
            threads.end_run(self.now);
        }
    }
}

/// The thread on the CPU, with its fiber.
pub(super) struct OnCpu<'a> {
    store: &'a mut StoreOpaque,
    /// `None` once the fiber was given back.
    fiber: Option<Box<StoreFiber<'static>>>,
}

impl<'a> OnCpu<'a> {
    /// # Errors
    ///
    /// If the embedder's policy has made no sense.
    fn start_next(store: &'a mut StoreOpaque, now: Instant) -> Result<Option<OnCpu<'a>>> {
        let Some(threads) = store.preempt_mut() else {
            return Ok(None);
        };
        let Some(fiber) = threads.start_next(now)? else {
            return Ok(None);
        };
        store.resume_fuel();
        store.arm_epoch(now);
        store.start_signal_slice(now);
        Ok(Some(OnCpu {
            store,
            fiber: Some(fiber),
        }))
    }

    /// The thread `id`, to be ended. `None` if it has finished.
    pub(super) fn start_ending(
        store: &'a mut StoreOpaque,
        id: ThreadId,
        now: Instant,
    ) -> Option<OnCpu<'a>> {
        let fiber = store.preempt_mut().as_mut()?.start_ending(id, now)?;
        store.resume_fuel();
        Some(OnCpu {
            store,
            fiber: Some(fiber),
        })
    }

    /// Runs the thread until it leaves the CPU, at `now`. `None` if it has finished.
    fn dispatch(mut self, waiter: &Waiter, now: &mut Instant) -> Option<Off> {
        if let Some(over) = self.store.running_thread().and_then(|running| running.over) {
            *now = self.kill(OwnedExit::OverLimit(over));
            return None;
        }
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
            None => return self.stop(*now),
        }
        None
    }

    /// Unwinds the thread's stack, wherever it is suspended, and ends it. Returns when
    /// that was done.
    pub(super) fn kill(mut self, exit: OwnedExit) -> Instant {
        // A thread that was cancelled never suspends again: everything on its
        // stack is Wasmtime's, and hands the error up. So this finishes it.
        let cancelled = format_err!("guest thread killed");
        let result = self.resume(Err(cancelled));
        debug_assert!(result.is_ok());
        let now = Instant::now();
        self.finish(Some(exit), now);
        now
    }

    fn resume(&mut self, with: WasmtimeResume) -> Result<WasmtimeComplete, StoreFiberYield> {
        let OnCpu { store, fiber, .. } = self;
        let Some(fiber) = fiber else {
            return Ok(Err(crate::bug!("a guest thread without a fiber").into()));
        };
        blocking::dispatching(store, |store| resume_fiber(store, fiber, with))
    }

    /// Gives the fiber back, suspended.
    fn stop(mut self, now: Instant) -> Option<Off> {
        let fuel_held = self.store.suspend_fuel();
        let fiber = self.fiber.take()?;
        self.store
            .preempt_mut()
            .as_mut()?
            .stop_running(fiber, fuel_held, now)
    }

    fn finish(mut self, exit: Option<OwnedExit>, now: Instant) {
        // Its stack is back with the store: `resume_fiber` has seen to it.
        self.fiber = None;
        self.store.count_thread_fuel();
        if let Some(threads) = self.store.preempt_mut() {
            threads.finish(exit, now);
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
            // A scheduler may panic as well, when it is told. One panic is on already.
            let finish = || threads.finish(Some(exit), Instant::now());
            let _ = panic::catch_unwind(AssertUnwindSafe(finish));
        }
    }
}
