//! A run: the loop that picks, arms, resumes, accounts, requeues.
//!
//! ```text
//!   go --------> end threads killed or out of time                     |
//!                wake threads whose alarm or waker fired               |
//!                  |                                                   |
//!                pick the next ready thread  <-------------------------+
//!                  |        |                                          |
//!                  |        +--- none ready: finished, idle, deadlock
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
//!          wait for a wake,  preempted,        |                       |
//!          resume this one   yielded, parked   v                       |
//!                            or paused      keep its exit              |
//!                               |              |                       |
//!                               v              |                       |
//!         requeue unless parked or             |                       |
//!         suspended; over a limit: end it      |                       |
//!                               +--------------+--> time up? ---no-----+
//! ```
//!
//! `dispatch.rs` handles the thread on the CPU, and `shutdown.rs` the ways to end one.
//!
//! When no thread is ready, or a pending host future keeps the store, the caller of
//! [`Run::go`] waits: here the OS thread, in executor.rs an executor's task.

use super::budget::{Busy, CpuShare};
use super::clock::Moment;
use super::dispatch::{Left, OnCpu};
use super::exit::OwnedExit;
use super::id::ThreadId;
use super::park::WaitFor;
use super::slice::Preemption;
use super::suspend::Base;
use super::tasks::{self, Tasks};
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
    /// Why it ended.
    pub end: RunEnd,
    /// How many times a thread was put on the CPU. One that goes on with the slice in which the
    /// end of an earlier run paused it is not counted again.
    pub dispatches: u64,
    /// How many slices the preemption source ended. That can be one more than `dispatches`, if
    /// the first of them began in an earlier run.
    pub preemptions: u64,
    /// How many threads finished.
    pub finished: u64,
    /// How many times a thread had to wait, as a CPU rate left it no time on the CPU: see
    /// [`ThreadLimits::cpu_rate`](super::ThreadLimits::cpu_rate).
    pub throttles: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// If it ended with [`RunEnd::Deadlock`], the parked threads and what each waits for.
    pub deadlocked: Vec<(ThreadId, WaitFor)>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// Every thread has finished.
    AllFinished,
    /// The run's time is up, and some thread is ready or may still be woken.
    TimeUp,
    /// Every unfinished thread is suspended or parked, and only suspended threads could wake
    /// the parked ones.
    AllSuspended,
    /// Every unfinished thread is parked, and nothing is known that could wake one: see
    /// [`RunSummary::deadlocked`].
    Deadlock,
}

impl RunSummary {
    pub(super) fn new() -> RunSummary {
        RunSummary {
            end: RunEnd::AllFinished,
            dispatches: 0,
            preemptions: 0,
            finished: 0,
            throttles: 0,
            elapsed: Duration::ZERO,
            deadlocked: Vec::new(),
        }
    }
}

pub(super) fn run_for(store: &mut StoreOpaque, time: Duration) -> Result<RunSummary> {
    let start = Moment::now();
    // A deadline beyond the clock's range never comes.
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
            // This run never pauses.
            Stop::Paused => {}
            // A host future has borrowed the store. Nobody else may use it, not even the
            // embedder, so the run cannot end here either.
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

/// Why [`Run::go`] returned.
pub(super) enum Stop {
    /// The run is over.
    Over(RunEnd),
    /// It is time for a pause.
    Paused,
    /// A pending host future keeps the store: resume this thread next.
    Kept(Box<StoreFiber<'static>>),
    /// No thread is ready: wait for the waker, or until this time.
    Idle(Option<Moment>),
}

/// A run or a shutdown in progress. A store has at most one.
pub(super) struct Run<'a> {
    pub(super) store: &'a mut StoreOpaque,
    /// When the last thread went off the CPU.
    pub(super) now: Moment,
    /// Whether the caller is itself in a host call from a guest of this store.
    in_host: usize,
    /// The tasks of the component model that the caller is in.
    tasks: Option<Tasks>,
}

impl<'a> Run<'a> {
    /// # Errors
    ///
    /// If one is already in progress.
    pub(super) fn begin(store: &'a mut StoreOpaque, now: Moment) -> Result<Run<'a>> {
        // It may be left from a future that was leaked.
        store.preemptive_threads()?.busy = None;
        Run::begin_poll(store, now)
    }

    /// Begins a poll of a run, which counts as busy if it did after the last one.
    ///
    /// # Errors
    ///
    /// The same as for [`begin`](Self::begin).
    pub(super) fn begin_poll(store: &'a mut StoreOpaque, now: Moment) -> Result<Run<'a>> {
        let threads = store.preemptive_threads()?;
        if threads.run_state.is_kept() {
            threads.give_up_running(now);
        }
        ensure!(
            threads.run_state.begin(),
            "guest threads are being run already: a host function that one of \
             them called can spawn threads, and neither run nor shut them down"
        );
        let in_host = store.replace_in_host(0);
        let tasks = tasks::put_aside(store);
        Ok(Run {
            store,
            now,
            in_host,
            tasks,
        })
    }

    /// Continues a run in which a pending host future kept the store.
    pub(super) fn resume(store: &'a mut StoreOpaque, now: Moment) -> Run<'a> {
        if let Some(threads) = store.preempt_mut() {
            threads.run_state.resume();
        }
        let in_host = store.replace_in_host(0);
        let tasks = tasks::put_aside(store);
        Run {
            store,
            now,
            in_host,
            tasks,
        }
    }

    /// Refuses new threads from now on.
    pub(super) fn shut_down(&mut self) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.run_state.shut_down();
        }
    }

    /// Counts this run as busy, for `share`, and returns its part of a round.
    pub(super) fn part_of_round(&mut self, share: Option<&CpuShare>) -> Duration {
        let Some(threads) = self.store.preempt_mut() else {
            return Duration::ZERO;
        };
        let busy = threads.busy.take_if(|busy| busy.is_for(share));
        // The one that is left is another's.
        threads.busy = None;
        let busy = busy.unwrap_or_else(|| Busy::new(share.cloned()));
        let part = busy.budget(self.now);
        threads.busy = Some(busy);
        part
    }

    /// This run has nothing to do.
    pub(super) fn idle(&mut self) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.busy = None;
        }
    }

    /// Starts the preemption source, until `end`.
    ///
    /// # Errors
    ///
    /// If the OS refuses what that needs.
    pub(super) fn start_sources(&mut self, end: Option<Moment>) -> Result<()> {
        self.store.begin_run(end)?;
        if let Some(threads) = self.store.preempt_mut() {
            if threads.preemption != Preemption::Fuel {
                // Do not charge this setup to the first slice.
                self.now = Moment::now();
            }
            threads.start_run(self.now);
        }
        Ok(())
    }

    /// Stops the preemption source, and leaves the thread that keeps the store on the CPU.
    pub(super) fn leave_kept(mut self) {
        if let Some(threads) = self.store.preempt_mut() {
            threads.run_state.leave_kept();
        }
        self.stop_sources();
        self.store.replace_in_host(self.in_host);
        tasks::put_back(self.store, self.tasks.take());
        core::mem::forget(self);
    }

    fn stop_sources(&mut self) {
        self.store.end_run();
        if let Some(threads) = self.store.preempt_mut() {
            threads.end_run(self.now);
        }
    }

    /// Runs threads in turn, starting with the one whose fiber was `kept`. Returns when the
    /// run is over (at `deadline` at the latest), no thread is ready, the `pause` is due, or
    /// a thread keeps the store. `waker` is then woken as soon as there is more to do.
    ///
    /// # Errors
    ///
    /// If the embedder's policy gives an invalid answer.
    pub(super) fn go(
        &mut self,
        kept: Option<Box<StoreFiber<'static>>>,
        deadline: Option<Moment>,
        pause: Option<Moment>,
        waker: &Waker,
        summary: &mut RunSummary,
    ) -> Result<Stop> {
        let stop = self.run(kept, deadline, pause, waker, summary);
        if let Some(threads) = self.store.preempt_mut() {
            summary.throttles += threads.take_throttles();
        }
        stop
    }

    fn run(
        &mut self,
        mut kept: Option<Box<StoreFiber<'static>>>,
        deadline: Option<Moment>,
        pause: Option<Moment>,
        waker: &Waker,
        summary: &mut RunSummary,
    ) -> Result<Stop> {
        let base = Base::now();
        let mut dispatched = false;
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
                        summary.finished += self.end_due_threads();
                        if let Some(threads) = self.store.preempt_mut() {
                            threads.wake_those_due(Some(self.now));
                        }
                    }
                    let now = self.now;
                    let is_over = |end: Option<Moment>| end.is_some_and(|end| now >= end);
                    if is_over(deadline) {
                        return Ok(Stop::Over(self.end(summary)));
                    }
                    if dispatched
                        && is_over(pause)
                        && self.store.preempt().is_some_and(|t| t.anyone_ready())
                    {
                        return Ok(Stop::Paused);
                    }
                    let Some(thread) = OnCpu::start_next(self.store, self.now)? else {
                        match self.rest(deadline, waker, summary) {
                            Some(stop) => return Ok(stop),
                            // Those that only sleep by a virtual clock are never ready above.
                            None if is_over(pause) => return Ok(Stop::Paused),
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
            dispatched = true;
        }
    }

    /// What to do when no thread is ready: `None` if there is work by now.
    fn rest(
        &mut self,
        deadline: Option<Moment>,
        waker: &Waker,
        summary: &mut RunSummary,
    ) -> Option<Stop> {
        let threads = self.store.preempt_mut().as_mut()?;
        if threads.skip_to_next_alarm() {
            return None;
        }
        if threads.anyone_may_be_woken() {
            let ends = [deadline, threads.next_alarm(), threads.next_timeout()];
            let until = ends.into_iter().flatten().min();
            return match threads.remote.sleep(waker) {
                true => Some(Stop::Idle(until)),
                false => None,
            };
        }
        // The last possible waker may have woken a thread since the check above.
        if threads.remote.has_woken() || threads.remote.has_requests() {
            return None;
        }
        Some(Stop::Over(self.end(summary)))
    }

    /// Prepares to wait while a pending host future keeps the store. `waker` is woken if the
    /// thread is killed. Returns when to look again, if ever. `None` if there is work by now.
    pub(super) fn rest_kept(&self, waker: &Waker) -> Option<Option<Moment>> {
        let threads = self.store.preempt()?;
        let id = threads.running()?.id;
        let sleeps = threads.remote.sleep_unless_killed(id, waker);
        sleeps.then(|| threads.timeout_of(id))
    }

    /// How the thread that keeps the store must end, if it must. No other thread can be ended
    /// now: that runs host code, and the store is borrowed.
    fn end_of_kept(&self) -> Option<OwnedExit> {
        let threads = self.store.preempt()?;
        let id = threads.running()?.id;
        if threads.remote.has_requests() && threads.remote.take_kill_of(id) {
            return Some(OwnedExit::Killed);
        }
        let over = threads.over_wall_time(id, self.now);
        over.map(OwnedExit::OverLimit)
    }

    /// Why the run ended, if it ends now.
    fn end(&self, summary: &mut RunSummary) -> RunEnd {
        let Some(threads) = self.store.preempt().filter(|threads| threads.anyone_live()) else {
            return RunEnd::AllFinished;
        };
        // The order matters: a waker may be woken just before it is given back.
        if threads.anyone_ready()
            || threads.anyone_may_be_woken()
            || threads.remote.has_woken()
            || threads.remote.has_requests()
        {
            return RunEnd::TimeUp;
        }
        if threads.anyone_suspended() {
            return RunEnd::AllSuspended;
        }
        summary.deadlocked = threads.parked();
        RunEnd::Deadlock
    }

    /// Called after the run has slept.
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
        tasks::put_back(self.store, self.tasks.take());
        if let Some(threads) = self.store.preempt_mut() {
            threads.run_state.end();
        }
    }
}
