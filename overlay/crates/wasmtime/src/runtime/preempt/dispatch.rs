//! The dispatch loop: pick, arm, resume, account, requeue.
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
//! The thread on the CPU has its fiber in the hands of [`OnCpu`] here. Whatever
//! happens, a panic of a host function included, `OnCpu` either gives the fiber
//! back to the store suspended or drops it finished (I12).
//!
//! Who waits while all threads do, or a pending host future keeps the store, is up to
//! the caller of [`Run::go`]: here the OS thread, in executor.rs an executor's task.

use super::blocking::{self, Base};
use super::clock::Moment;
use super::executor::Busy;
use super::exit::{self, OwnedExit};
use super::id::ThreadId;
use super::limits::OverLimit;
use super::park::WaitFor;
use super::remote::Request;
use super::slice::Preemption;
use super::threads::{End, Exited, Off};
use super::wait::Loan;
use crate::fiber::{StoreFiber, StoreFiberYield, WasmtimeComplete, WasmtimeResume, resume_fiber};
use crate::prelude::*;
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::task::{Context, Waker};
use core::time::Duration;
use std::panic::{self, AssertUnwindSafe};

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
    let mut run = Run::begin(store, Moment::now())?;
    run.end_thread(id, None);
    run.end_and_tell();
    Ok(())
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
        self.store.start_fuel(end);
        self.store.start_epochs(end)?;
        self.store.start_signals(end)?;
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
        self.store.stop_fuel();
        self.store.stop_epochs();
        self.store.stop_signals();
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

    /// Ends the threads that are to end, and calls the hooks of those that have, until
    /// there is neither: a hook may ask for the end of more. Returns how many were ended.
    fn end_and_tell(&mut self) -> u64 {
        let mut ended = 0;
        loop {
            ended += self.end_those_due();
            self.call_exit_hooks();
            if !self
                .store
                .preempt()
                .is_some_and(|t| t.remote.anything_asked())
            {
                return ended;
            }
        }
    }

    /// Calls the hooks of the threads that have finished.
    pub(super) fn call_exit_hooks(&mut self) {
        while let Some(threads) = self.store.preempt_mut()
            && let Some(exited) = threads.next_exited()
        {
            let Exited { id, hook, detached } = exited;
            // SAFETY: I13. This is the store that `self` has borrowed, and nothing else
            // of the borrow is used until the hook returns.
            hook(unsafe { self.store.traitobj().as_mut() }, id);
            if detached {
                self.store.take_owned_exit(id);
            }
            self.now = Moment::now();
        }
    }

    /// Ends the threads that somebody has asked to end, and those that are over their
    /// wall time limit. Returns how many.
    fn end_those_due(&mut self) -> u64 {
        let mut ended = 0;
        if let Some(threads) = self.store.preempt()
            && threads.remote.anything_asked()
        {
            for _ in 0..threads.remote.asked() {
                let threads = self.store.preempt();
                if let Some((id, Request::Kill)) = threads.and_then(|t| t.remote.next_request()) {
                    ended += self.end_thread(id, None);
                }
            }
        }
        loop {
            let Some(threads) = self.store.preempt_mut() else {
                return ended;
            };
            let Some((id, over)) = threads.timed_out(self.now) else {
                return ended;
            };
            ended += self.end_thread(id, Some(over));
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
            self.now = Moment::now();
            if let Some(threads) = self.store.preempt_mut() {
                threads.limit_hook.get_or_insert(hook);
            }
            if let Err(error) = result.unwrap_or_else(|panic| panic::resume_unwind(panic)) {
                return self.end_with(id, OwnedExit::Trapped(error));
            }
        }
        match self.store.preempt().and_then(|t| t.over_limit(id)) {
            Some(over) => self.end_thread(id, Some(over)),
            None => 0,
        }
    }

    /// Ends `id`, wherever it is suspended, if it has not finished.
    fn end_thread(&mut self, id: ThreadId, over: Option<OverLimit>) -> u64 {
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
        self.stop_sources();
        self.store.disarm_fuel();
        self.store.replace_in_host(self.in_host);
        if let Some(threads) = self.store.preempt_mut() {
            threads.in_run = false;
        }
    }
}

/// How a thread has left the CPU.
enum Left {
    Finished,
    Off(Off),
    /// It has not: a pending host future keeps the store.
    Kept(Box<StoreFiber<'static>>),
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
    /// If the embedder's policy has made no sense, or the OS refuses the timer's thread.
    #[inline(always)]
    fn start_next(store: &'a mut StoreOpaque, now: Moment) -> Result<Option<OnCpu<'a>>> {
        let Some(threads) = store.preempt_mut() else {
            return Ok(None);
        };
        let Some(fiber) = threads.start_next(now)? else {
            return Ok(None);
        };
        store.resume_fuel();
        store.arm_epoch(now);
        let armed = store.arm_fuel_clock();
        let on_cpu = OnCpu {
            store,
            fiber: Some(fiber),
        };
        match armed {
            Ok(()) => Ok(Some(on_cpu)),
            Err(error) => {
                on_cpu.put_back(now);
                Err(error)
            }
        }
    }

    /// It has not run.
    #[cold]
    fn put_back(self, now: Moment) {
        self.stop(now);
    }

    /// The thread on the CPU, which a pending host future has kept there.
    pub(super) fn keep_on(
        store: &'a mut StoreOpaque,
        fiber: Box<StoreFiber<'static>>,
        now: Moment,
    ) -> OnCpu<'a> {
        if let Some(threads) = store.preempt_mut() {
            threads.keep_on(now);
        }
        let in_host = store.running_thread().map_or(0, |running| running.in_host);
        store.replace_in_host(in_host);
        store.arm_epoch(now);
        if store.engine().tunables().consume_fuel {
            store.start_attention();
        }
        if store.arm_fuel_clock().is_err() {
            // It looks at the clock by itself, then.
            store.raise_attention();
        }
        OnCpu {
            store,
            fiber: Some(fiber),
        }
    }

    /// The thread `id`, to be ended. `None` if it has finished.
    pub(super) fn start_ending(
        store: &'a mut StoreOpaque,
        id: ThreadId,
        now: Moment,
    ) -> Option<OnCpu<'a>> {
        let fiber = store.preempt_mut().as_mut()?.start_ending(id, now)?;
        store.resume_fuel();
        Some(OnCpu {
            store,
            fiber: Some(fiber),
        })
    }

    /// Whether it goes on with a slice that it has had before.
    fn was_paused(&self) -> bool {
        self.store
            .running_thread()
            .is_some_and(|running| running.was_paused)
    }

    /// Runs the thread until it leaves the CPU, at `now`, or keeps the store.
    #[inline]
    fn dispatch(mut self, base: Base, waker: &Waker, now: &mut Moment) -> Left {
        if let Some(running) = self.store.running_thread()
            && let Some(over) = running.over.as_deref().copied()
        {
            *now = self.kill(OwnedExit::OverLimit(over));
            return Left::Finished;
        }
        let mut cx = Context::from_waker(waker);
        // The context is not used after this resume is over: the fiber drops it when it
        // suspends.
        let cx = NonNull::from(&mut cx).cast::<Context<'static>>();
        let resumed = self.resume(base, Ok(cx));
        *now = Moment::now();
        match resumed {
            Ok(Ok(())) => self.finish(End::ByItself(None), *now),
            Ok(Err(error)) => {
                let exit = exit::trapped(self.store, error);
                self.finish(End::ByItself(Some(exit)), *now);
            }
            Err(StoreFiberYield::ReleaseStore) => {
                return self.stop(*now).map_or(Left::Finished, Left::Off);
            }
            Err(StoreFiberYield::KeepStore) => {
                let in_host = self.store.replace_in_host(0);
                if let Some(threads) = self.store.preempt_mut() {
                    threads.keep(in_host);
                }
                return self.fiber.take().map_or(Left::Finished, Left::Kept);
            }
        }
        Left::Finished
    }

    /// Unwinds the thread's stack, wherever it is suspended, and ends it. Returns when
    /// that was done.
    pub(super) fn kill(mut self, exit: OwnedExit) -> Moment {
        // A thread that was cancelled never suspends again: everything on its
        // stack is Wasmtime's, and hands the error up. So this finishes it.
        let cancelled = format_err!("guest thread killed");
        let result = self.resume(Base::now(), Err(cancelled));
        debug_assert!(result.is_ok());
        let now = Moment::now();
        self.finish(End::Ended(exit), now);
        now
    }

    // Inlined, as is `dispatching`: after a switch of stacks the CPU mispredicts each
    // return on the way up.
    #[inline(always)]
    fn resume(
        &mut self,
        base: Base,
        with: WasmtimeResume,
    ) -> Result<WasmtimeComplete, StoreFiberYield> {
        let OnCpu { store, fiber, .. } = self;
        let Some(fiber) = fiber else {
            return Ok(Err(crate::bug!("a guest thread without a fiber").into()));
        };
        blocking::dispatching(store, base, |store| resume_fiber(store, fiber, with))
    }

    /// Gives the fiber back, suspended.
    #[inline(always)]
    fn stop(mut self, now: Moment) -> Option<Off> {
        let fuel_held = self.store.suspend_fuel();
        let fiber = self.fiber.take()?;
        self.store
            .preempt_mut()
            .as_mut()?
            .stop_running(fiber, fuel_held, now)
    }

    fn finish(mut self, end: End, now: Moment) {
        // Its stack is back with the store: `resume_fiber` has seen to it.
        self.fiber = None;
        self.store.count_thread_fuel();
        self.store.replace_in_host(0);
        if let Some(threads) = self.store.preempt_mut() {
            threads.finish(end, now);
        }
        self.store.keep_idle_stack();
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
        self.store.replace_in_host(0);
        if let Some(threads) = self.store.preempt_mut() {
            let exit = OwnedExit::Trapped(format_err!("a host function panicked"));
            // A scheduler may panic as well, when it is told. One panic is on already.
            let finish = || threads.finish(End::Ended(exit), Moment::now());
            let _ = panic::catch_unwind(AssertUnwindSafe(finish));
        }
    }
}
