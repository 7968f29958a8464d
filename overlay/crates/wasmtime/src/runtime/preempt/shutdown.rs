//! Every way to end guest threads: one at a time, at a limit, or all at once.
//!
//! To end them all:
//!
//! 1. The shutdown counts as a run, so host code that unwinding calls (destructors of
//!    cancelled futures, hooks) cannot start another. Nor can it spawn threads: a hook
//!    that spawned one for each that ends would keep the shutdown from ending.
//! 2. Threads are ended one at a time, in spawn order. One that has started is resumed with
//!    an error where it is suspended, and its stack unwinds as for a trap. One that has
//!    not started returns at once.
//! 3. Each leaves `Exit::Killed`. All stacks but one go back to the allocator.
//! 4. If such host code panics, the remaining threads are still ended. Then the first
//!    panic continues to the embedder.
//!
//! Dropping a store takes the same steps, except that a panic stops there.

use super::clock::Moment;
use super::dispatch::OnCpu;
use super::exit::OwnedExit;
use super::id::ThreadId;
use super::limits::OverLimit;
use super::remote::Request;
use super::run::Run;
use super::threads::Exited;
use crate::prelude::*;
use crate::store::StoreOpaque;
use std::panic::{self, AssertUnwindSafe};

/// Ends `id`: at once, or, during a run, as part of that run.
///
/// # Errors
///
/// If there is no such thread, or it has finished.
pub(super) fn kill(store: &mut StoreOpaque, id: ThreadId) -> Result<()> {
    let threads = store.preemptive_threads()?;
    threads.ensure_live(id, "killed")?;
    if threads.run_state.is_in_run() {
        threads.remote.ask(id, Request::Kill);
        return Ok(());
    }
    let mut run = Run::begin(store, Moment::now())?;
    run.end_thread(id, None);
    run.end_due_threads();
    Ok(())
}

/// Ends all threads. Returns how many.
///
/// # Errors
///
/// If called from within a run.
pub(super) fn shutdown(store: &mut StoreOpaque) -> Result<usize> {
    if store.preempt().is_none() {
        return Ok(0);
    }
    let mut run = Run::begin(store, Moment::now())?;
    run.shut_down();
    let mut killed = 0;
    let mut panicked = None;
    loop {
        let hooks = || run.call_exit_hooks();
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(hooks)) {
            panicked.get_or_insert(panic);
            // There may be more hooks.
            continue;
        }
        let live = run.store.preempt().map_or(Vec::new(), |t| t.live());
        if live.is_empty() {
            break;
        }
        for id in live {
            let Some(thread) = OnCpu::start_ending(run.store, id, run.now) else {
                // Or this loop would not end.
                if let Some(threads) = run.store.preempt_mut() {
                    threads.give_up(id);
                }
                continue;
            };
            killed += 1;
            // A panic finishes the thread as well, and leaves nothing else half changed.
            let kill = || thread.kill(OwnedExit::Killed);
            match panic::catch_unwind(AssertUnwindSafe(kill)) {
                Ok(now) => run.now = now,
                Err(panic) => {
                    panicked.get_or_insert(panic);
                }
            }
        }
    }
    drop(run);
    store.drop_idle_stacks(0);
    if let Some(panic) = panicked {
        panic::resume_unwind(panic);
    }
    Ok(killed)
}

impl Run<'_> {
    /// Ends the threads that must end and calls the hooks of those that have, until none are
    /// left: a hook may ask to end more. Returns how many were ended.
    pub(super) fn end_due_threads(&mut self) -> u64 {
        let mut ended = 0;
        loop {
            ended += self.end_those_due();
            self.call_exit_hooks();
            if !self
                .store
                .preempt()
                .is_some_and(|t| t.remote.has_requests())
            {
                return ended;
            }
        }
    }

    /// Calls the hooks of finished threads.
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

    /// Ends the threads that somebody asked to kill, and those over their wall time limit.
    /// Returns how many.
    fn end_those_due(&mut self) -> u64 {
        let mut ended = 0;
        if let Some(threads) = self.store.preempt()
            && threads.remote.has_requests()
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

    /// Calls the hook if `id` has reached a soft limit, and ends `id` if it is over a limit.
    /// Returns how many threads were ended.
    pub(super) fn enforce_limits(&mut self, id: ThreadId) -> u64 {
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

    /// Ends `id`, wherever it is suspended, unless it has finished.
    pub(super) fn end_thread(&mut self, id: ThreadId, over: Option<OverLimit>) -> u64 {
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

impl StoreOpaque {
    /// The first step of dropping a store. The store's data is still there for host code that
    /// unwinding may call.
    pub(crate) fn drop_preemptive_threads(&mut self) {
        // The panic hook has already reported a panic in host code. It must not keep the
        // store from being dropped.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| shutdown(self)));
        let threads = self.preempt_mut().take();
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(threads)));
    }
}
