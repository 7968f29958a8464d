//! Ending all guest threads of a store.
//!
//! 1. The shutdown counts as a run, so that the host code that unwinding calls
//!    (destructors of cancelled futures, hooks) cannot start another. Nor can it spawn
//!    threads: a hook that did so for each thread that ends would never let it end.
//! 2. The threads are taken one by one, in the order of their spawning. One that has started
//!    is resumed with an error at the point where it is suspended, and its stack
//!    unwinds as for a trap; one that has not returns at once.
//! 3. Each leaves `Exit::Killed`. All stacks but one go back to the allocator.
//! 4. If such host code panics, the others are ended all the same, and the first
//!    panic goes on to the embedder.
//!
//! A store that is dropped goes through the same steps, but that a panic stops there.

use super::clock::Moment;
use super::dispatch::{OnCpu, Run};
use super::exit::OwnedExit;
use crate::prelude::*;
use crate::store::StoreOpaque;
use std::panic::{self, AssertUnwindSafe};

/// Returns how many threads were ended.
///
/// # Errors
///
/// If called from within a run.
pub(super) fn shutdown(store: &mut StoreOpaque) -> Result<usize> {
    if store.preempt().is_none() {
        return Ok(0);
    }
    let mut run = Run::begin(store, Moment::now())?;
    run.set_shutting_down(true);
    let mut killed = 0;
    let mut panicked = None;
    loop {
        let hooks = || run.call_exit_hooks();
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(hooks)) {
            panicked.get_or_insert(panic);
            // There may be more.
            continue;
        }
        let live = run.store.preempt().map_or(Vec::new(), |t| t.live());
        if live.is_empty() {
            break;
        }
        for id in live {
            let Some(thread) = OnCpu::start_ending(run.store, id, run.now) else {
                // So that this ends.
                if let Some(threads) = run.store.preempt_mut() {
                    threads.give_up(id);
                }
                continue;
            };
            killed += 1;
            // After a panic the thread is finished as well, and nothing else was
            // halfway through a change.
            let kill = || thread.kill(OwnedExit::Killed);
            match panic::catch_unwind(AssertUnwindSafe(kill)) {
                Ok(now) => run.now = now,
                Err(panic) => {
                    panicked.get_or_insert(panic);
                }
            }
        }
    }
    run.set_shutting_down(false);
    drop(run);
    store.drop_idle_stacks(0);
    if let Some(panic) = panicked {
        panic::resume_unwind(panic);
    }
    Ok(killed)
}

impl StoreOpaque {
    /// The first step of dropping a store, while its data is still there for the
    /// host code that unwinding may call.
    pub(crate) fn drop_preemptive_threads(&mut self) {
        // A panic of host code has been reported by the panic hook, and must not keep the
        // store from being dropped.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| shutdown(self)));
        let threads = self.preempt_mut().take();
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(threads)));
    }
}
