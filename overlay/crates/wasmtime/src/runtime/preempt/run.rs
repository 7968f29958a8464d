//! A run: the loop that picks, arms, resumes, accounts, requeues.
//!
//! ```text
//!   go --------> end who is to be ended: asked for, out of time        |
//!                wake whose time it is, or who was woken               |
//!                  |                                                   |
//!                pick the next ready thread  <-------------------------+
//!                  |        |                                          |
//!                  |        +--- there is none: finished, idle, deadlock
//!                  v                                                   |
//!                arm fuel, epochs and signals for its slice            |
//!                  |                                                   |
//!                  v                                                   |
//!   fiber        resume ----------------+                              |
//!   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|~~~~~~~~                      |
//!     guest code, libcalls, host code   |                              |
//!   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|~~~~~~~~                      |
//!                  +--------------------+                              |
//!                  |            |              |                       |
//!             KeepStore     ReleaseStore    finished                   |
//!          wait for a wake,  preempted or      |                       |
//!          resume this one   parked            v                       |
//!                               |           keep its exit              |
//!                               v              |                       |
//!                requeue; over a limit: end it |                       |
//!                               +--------------+--> time up? ---no-----+
//! ```
//!
//! `dispatch.rs` has the thread on the CPU, and `shutdown.rs` the ways in which one is ended.
//!
//! Who waits while all threads do, or a pending host future keeps the store, is up to
//! the caller of [`Run::go`]: here the OS thread, in executor.rs an executor's task.

use super::budget::Busy;
use super::clock::Moment;
use super::dispatch::{Left, OnCpu};
use super::exit::OwnedExit;
use super::id::ThreadId;
use super::park::WaitFor;
use super::slice::Preemption;
use super::suspend::Base;
use super::wait::Loan;
use crate::fiber::StoreFiber;
use crate::prelude::*;
use crate::store::StoreOpaque;
use core::task::Waker;
use core::time::Duration;

/// What a run did: see
/// [`Store::run_wasm_threads_for`](crate::Store::run_wasm_threads_for).
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// If it ended with [`RunEnd::Deadlock`], the threads that wait, and for what.
    pub deadlocked: Vec<(ThreadId, WaitFor)>,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// No thread is left that has not finished.
    AllFinished,
    /// The time that it was given is up, and there are threads to run, or that somebody
    /// may wake.
    TimeUp,
    /// All threads that have not finished are suspended, or wait, and nothing but those
    /// that are suspended can wake them.
    AllSuspended,
    /// All threads that have not finished wait, and nothing is known that could wake
    /// them: see [`RunSummary::deadlocked`].
    Deadlock,
}

impl RunSummary {
    pub(super) fn new() -> RunSummary {
        RunSummary {
            end: RunEnd::AllFinished,
            dispatches: 0,
            preemptions: 0,
            finished: 0,
            elapsed: Duration::ZERO,
            deadlocked: Vec::new(),
        }
    }
}

pub(super) fn run_for(store: &mut StoreOpaque, time: Duration) -> Result<RunSummary> {
    let start = Moment::now();
    // A time that the clock cannot hold never comes.
    let deadline = start.checked_add(time);
    let mut run = Run::begin(store, start)?;
    run.start_sources(deadline)?;
    let waiter = Loan::new();
    let mut summary = RunSummary::new();
    let mut kept = None;
    loop {
        waiter.reset();
        match run.go(kept.take(), deadline, None, waiter.waker(), &mut summary)? {
            Stop::Over(end) => {
                summary.end = end;
                break;
            }
            // There is no point at which it is to pause.
            Stop::Paused => {}
            // A host future has borrowed the store. Nobody else may have it, not even
            // the embedder, so the run cannot end here either.
            Stop::Kept(fiber) => {
                kept = Some(fiber);
                if let Some(until) = run.rest_kept(waiter.waker()) {
                    waiter.wait(until);
                }
                run.wake_up();
            }
            Stop::Idle(until) => {
                waiter.wait(until);
                run.wake_up();
            }
        }
    }
    summary.elapsed = run.now.left(start);
    Ok(summary)
}

/// Why [`Run::go`] returns.
pub(super) enum Stop {
    /// The run is over.
    Over(RunEnd),
    /// It is time for a pause.
    Paused,
    /// A pending host future keeps the store: this thread is to be resumed next.
    Kept(Box<StoreFiber<'static>>),
    /// All threads wait: for what wakes the waker, or until then.
    Idle(Option<Moment>),
}

/// Whether a run or a shutdown is on, so that there is at most one.
pub(super) struct Run<'a> {
    pub(super) store: &'a mut StoreOpaque,
    /// When the last thread went off the CPU.
    pub(super) now: Moment,
    /// Whether who runs it is in a host call of a guest's of this store.
    in_host: usize,
}

impl<'a> Run<'a> {
    /// # Errors
    ///
    /// If one is on already.
    pub(super) fn begin(store: &'a mut StoreOpaque, now: Moment) -> Result<Run<'a>> {
        let threads = store.preemptive_threads()?;
        if core::mem::take(&mut threads.left_kept) {
            threads.give_up_running(now);
        }
        ensure!(
            !threads.in_run,
            "guest threads are being run already: a host function that one of \
             them called can spawn threads, and neither run nor shut them down"
        );
        threads.busy = None;
        threads.in_run = true;
        let in_host = store.replace_in_host(0);
        Ok(Run {
            store,
            now,
            in_host,
        })
    }

    /// Goes on with one that a pending host future has kept.
    pub(super) fn resume(store: &'a mut StoreOpaque, now: Moment) -> Run<'a> {
        if let Some(threads) = store.preempt_mut() {
            // It is, unless the poll before has failed.
            threads.in_run = true;
            threads.left_kept = false;
        }
        let in_host = store.replace_in_host(0);
        Run {
            store,
            now,
            in_host,
        }
    }

    /// Whether no more threads can be spawned.
    pub(super) fn set_shutting_down(&mut self, shutting_down: bool) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.shutting_down = shutting_down;
        }
    }

    /// Whether it counts as one with something to do.
    pub(super) fn set_busy(&mut self, busy: Option<Busy>) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.busy = busy;
        }
    }

    /// Starts what ends slices, until `end`.
    ///
    /// # Errors
    ///
    /// If the OS refuses what it takes.
    pub(super) fn start_sources(&mut self, end: Option<Moment>) -> Result<()> {
        self.store.begin_run(end)?;
        if let Some(threads) = self.store.preempt_mut() {
            if threads.preemption != Preemption::Fuel {
                // The first slice is not to pay for what it took to get here.
                self.now = Moment::now();
            }
            threads.start_run(self.now);
        }
        Ok(())
    }

    /// Stops what ends slices, and leaves the thread on the CPU that keeps the store.
    pub(super) fn leave_kept(mut self) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.left_kept = true;
        }
        self.stop_sources();
        self.store.replace_in_host(self.in_host);
        core::mem::forget(self);
    }

    fn stop_sources(&mut self) {
        self.store.end_run();
        if let Some(threads) = self.store.preempt_mut() {
            threads.end_run(self.now);
        }
    }

    /// Runs threads in turns, first the one whose fiber was `kept`, until the run is
    /// over, at `deadline` at the latest, or all wait, or it is to pause, or one keeps
    /// the store. Then `waker` is woken as soon as there is more to do.
    ///
    /// # Errors
    ///
    /// If the embedder's policy has made no sense.
    pub(super) fn go(
        &mut self,
        mut kept: Option<Box<StoreFiber<'static>>>,
        deadline: Option<Moment>,
        pause: Option<Moment>,
        waker: &Waker,
        summary: &mut RunSummary,
    ) -> Result<Stop> {
        let base = Base::now();
        loop {
            let thread = match kept.take() {
                Some(fiber) => {
                    let over = self.end_of_kept();
                    let thread = OnCpu::keep_on(self.store, fiber, self.now);
                    if let Some(exit) = over {
                        self.now = thread.kill(exit);
                        summary.finished += 1;
                        continue;
                    }
                    thread
                }
                None => {
                    if let Some(threads) = self.store.preempt()
                        && threads.anything_due(self.now)
                    {
                        summary.finished += self.end_and_tell();
                        if let Some(threads) = self.store.preempt_mut() {
                            threads.wake_those_due(Some(self.now));
                        }
                    }
                    let is_over = |end: Option<Moment>| end.is_some_and(|end| self.now >= end);
                    if is_over(deadline) {
                        return Ok(Stop::Over(self.end(summary)));
                    }
                    let Some(thread) = OnCpu::start_next(self.store, self.now)? else {
                        match self.rest(deadline, waker, summary) {
                            Some(stop) => return Ok(stop),
                            None => continue,
                        }
                    };
                    summary.dispatches += u64::from(!thread.was_paused());
                    thread
                }
            };
            match thread.dispatch(base, waker, &mut self.now) {
                Left::Finished => summary.finished += 1,
                Left::Off(off) => {
                    summary.preemptions += u64::from(off.preempted);
                    if off.limited {
                        summary.finished += self.enforce_limits(off.id);
                    }
                }
                Left::Kept(fiber) => return Ok(Stop::Kept(fiber)),
            }
            if pause.is_some_and(|pause| self.now >= pause)
                && self.store.preempt().is_some_and(|t| t.anyone_ready())
            {
                return Ok(Stop::Paused);
            }
        }
    }

    /// What to do while no thread is ready: `None` if there is something by now.
    fn rest(
        &mut self,
        deadline: Option<Moment>,
        waker: &Waker,
        summary: &mut RunSummary,
    ) -> Option<Stop> {
        let threads = self.store.preempt()?;
        if threads.anyone_may_be_woken() {
            let ends = [deadline, threads.next_alarm(), threads.next_timeout()];
            let until = ends.into_iter().flatten().min();
            return match threads.remote.sleep(waker) {
                true => Some(Stop::Idle(until)),
                false => None,
            };
        }
        // The last one who could may have woken one since.
        if threads.remote.anybody_woken() || threads.remote.anything_asked() {
            return None;
        }
        Some(Stop::Over(self.end(summary)))
    }

    /// What is to be done while a pending host future keeps the store: have `waker` woken
    /// when its thread is to be ended, and look again at the time that is returned, if
    /// there is one. `None` if there is something to do by now.
    pub(super) fn rest_kept(&self, waker: &Waker) -> Option<Option<Moment>> {
        let threads = self.store.preempt()?;
        let id = threads.running()?.id;
        let sleeps = threads.remote.sleep_unless_killed(id, waker);
        sleeps.then(|| threads.timeout_of(id))
    }

    /// How the thread that keeps the store is to be ended, if it is. Nobody else can be:
    /// that runs host code, and the store is borrowed.
    fn end_of_kept(&self) -> Option<OwnedExit> {
        let threads = self.store.preempt()?;
        let id = threads.running()?.id;
        if threads.remote.anything_asked() && threads.remote.take_kill_of(id) {
            return Some(OwnedExit::Killed);
        }
        let over = threads.over_wall_time(id, self.now);
        over.map(OwnedExit::OverLimit)
    }

    /// Why the run is over, if it is over now.
    fn end(&self, summary: &mut RunSummary) -> RunEnd {
        let Some(threads) = self.store.preempt().filter(|threads| threads.anyone_live()) else {
            return RunEnd::AllFinished;
        };
        // In this order: who gives a waker back may have woken it before.
        if threads.anyone_ready()
            || threads.anyone_may_be_woken()
            || threads.remote.anybody_woken()
            || threads.remote.anything_asked()
        {
            return RunEnd::TimeUp;
        }
        if threads.anyone_suspended() {
            return RunEnd::AllSuspended;
        }
        summary.deadlocked = threads.parked();
        RunEnd::Deadlock
    }

    /// The run has slept.
    pub(super) fn wake_up(&mut self) {
        self.now = Moment::now();
        if let Some(threads) = self.store.preempt() {
            threads.remote.sleep_no_more();
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.stop_sources();
        self.store.disarm_fuel();
        self.store.replace_in_host(self.in_host);
        if let Some(threads) = self.store.preempt_mut() {
            threads.in_run = false;
        }
    }
}
