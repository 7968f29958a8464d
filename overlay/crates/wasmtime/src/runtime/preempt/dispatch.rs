//! The thread on the CPU.
//!
//! [`OnCpu`] owns its fiber. Whatever happens, even if a host function panics, `OnCpu` either
//! gives the fiber back to the store suspended or drops it finished (I12).

use super::clock::Moment;
use super::exit::{self, OwnedExit};
use super::id::ThreadId;
use super::suspend::{Base, Dispatch};
use super::tasks;
use super::threads::{End, Off};
use crate::fiber::{StoreFiber, StoreFiberYield, WasmtimeComplete, WasmtimeResume, resume_fiber};
use crate::prelude::*;
use crate::store::StoreOpaque;
use core::ptr::NonNull;
use core::task::{Context, Waker};
use std::panic::{self, AssertUnwindSafe};

/// How a thread left the CPU.
pub(super) enum Left {
    Finished,
    Off(Off),
    /// It is still there: a pending host future keeps the store.
    Kept(Box<StoreFiber<'static>>),
}

/// The thread on the CPU, with its fiber.
pub(super) struct OnCpu<'a> {
    store: &'a mut StoreOpaque,
    /// `None` once the fiber is given back.
    fiber: Option<Box<StoreFiber<'static>>>,
}

impl<'a> OnCpu<'a> {
    /// # Errors
    ///
    /// If the embedder's policy gives an invalid answer, or the OS refuses the timer's thread.
    #[inline(always)]
    pub(super) fn start_next(store: &'a mut StoreOpaque, now: Moment) -> Result<Option<OnCpu<'a>>> {
        let Some(threads) = store.preempt_mut() else {
            return Ok(None);
        };
        let Some(fiber) = threads.start_next(now)? else {
            return Ok(None);
        };
        let begun = store.begin_slice(now);
        let on_cpu = OnCpu {
            store,
            fiber: Some(fiber),
        };
        match begun {
            Ok(()) => Ok(Some(on_cpu)),
            Err(error) => {
                on_cpu.put_back(now);
                Err(error)
            }
        }
    }

    /// Takes it off the CPU before it has run.
    #[cold]
    fn put_back(self, now: Moment) {
        self.stop(now);
    }

    /// Takes over the thread that a pending host future kept on the CPU.
    pub(super) fn keep_on(
        store: &'a mut StoreOpaque,
        fiber: Box<StoreFiber<'static>>,
        now: Moment,
    ) -> OnCpu<'a> {
        if let Some(threads) = store.preempt_mut() {
            threads.keep_on(now);
        }
        let kept = store.running_thread_mut();
        let (in_host, tasks) =
            kept.map_or((0, None), |running| (running.in_host, running.tasks.take()));
        store.replace_in_host(in_host);
        tasks::put_back(store, tasks);
        store.continue_slice(now);
        OnCpu {
            store,
            fiber: Some(fiber),
        }
    }

    /// Puts thread `id` on the CPU to end it. `None` if it has finished.
    pub(super) fn start_ending(
        store: &'a mut StoreOpaque,
        id: ThreadId,
        now: Moment,
    ) -> Option<OnCpu<'a>> {
        let fiber = store.preempt_mut().as_mut()?.start_ending(id, now)?;
        store.begin_unwinding();
        Some(OnCpu {
            store,
            fiber: Some(fiber),
        })
    }

    /// Whether it continues a paused slice.
    pub(super) fn was_paused(&self) -> bool {
        self.store
            .running_thread()
            .is_some_and(|running| running.was_paused)
    }

    /// Runs the thread until it leaves the CPU, at `now`, or keeps the store.
    #[inline]
    pub(super) fn dispatch(mut self, base: Base, waker: &Waker, now: &mut Moment) -> Left {
        if let Some(running) = self.store.running_thread()
            && let Some(over) = running.over.as_deref().copied()
        {
            *now = self.kill(OwnedExit::OverLimit(over));
            return Left::Finished;
        }
        let mut cx = Context::from_waker(waker);
        // The context is not used after this resume returns: the fiber drops it when it
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
                let tasks = tasks::put_aside(self.store);
                if let Some(threads) = self.store.preempt_mut() {
                    threads.keep(in_host, tasks);
                }
                return self.fiber.take().map_or(Left::Finished, Left::Kept);
            }
        }
        Left::Finished
    }

    /// Unwinds the thread's stack from wherever it is suspended, and ends the thread. Returns
    /// the time at the end.
    pub(super) fn kill(mut self, exit: OwnedExit) -> Moment {
        // A cancelled thread never suspends again: everything on its stack is Wasmtime's, and
        // passes the error up. So this finishes it.
        let cancelled = format_err!("guest thread killed");
        let result = self.resume(Base::now(), Err(cancelled));
        debug_assert!(result.is_ok());
        let now = Moment::now();
        self.finish(End::Ended(exit), now);
        now
    }

    // Inlined: see `Dispatching`.
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
        let dispatch = Dispatch::new(store, base);
        let _dispatching = dispatch.begin();
        resume_fiber(store, fiber, with)
    }

    /// Gives the fiber back, suspended.
    #[inline(always)]
    fn stop(mut self, now: Moment) -> Option<Off> {
        let fuel_held = self.store.end_slice();
        let fiber = self.fiber.take()?;
        self.store
            .preempt_mut()
            .as_mut()?
            .stop_running(fiber, fuel_held, now)
    }

    fn finish(mut self, end: End, now: Moment) {
        // `resume_fiber` has already given its stack back to the store.
        self.fiber = None;
        self.store.count_thread_fuel();
        self.store.replace_in_host(0);
        // None goes on.
        tasks::put_aside(self.store);
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
        // A host function panicked, and that finished the fiber. The panic continues to the
        // embedder; the thread is over.
        self.fiber = None;
        self.store.count_thread_fuel();
        self.store.replace_in_host(0);
        // None goes on.
        tasks::put_aside(self.store);
        if let Some(threads) = self.store.preempt_mut() {
            let exit = OwnedExit::Trapped(format_err!("a host function panicked"));
            // The scheduler may panic as well when notified. One panic is already unwinding.
            let finish = || threads.finish(End::Ended(exit), Moment::now());
            let _ = panic::catch_unwind(AssertUnwindSafe(finish));
        }
    }
}
