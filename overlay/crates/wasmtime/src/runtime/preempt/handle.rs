//! What can be asked of a guest thread by its id.

use super::exit::Exit;
use super::id::ThreadId;
use super::info::ThreadInfo;
use super::limits::ThreadLimits;
use super::policy::ThreadParams;
use super::remote::RemoteThread;
use super::shutdown;
use super::slice::Slice;
use super::spawn;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContextMut, StoreContext, StoreContextMut};

impl ThreadId {
    /// What the thread is doing, and what it has used. `None` once its exit was taken, and
    /// if there never was such a thread in the store.
    pub fn info<'a, T: 'static>(
        self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Option<ThreadInfo<'a>> {
        store.into().0.preempt()?.get(self)
    }

    /// How the thread ended, once: after this the store has forgotten the thread.
    ///
    /// `None` if it has not finished, is detached, its exit was taken before, or there
    /// never was such a thread in the store.
    pub fn take_exit(self, mut store: impl AsContextMut) -> Option<Exit> {
        store.as_context_mut().0.take_thread_exit(self)
    }

    /// Ends the thread, wherever it is: it leaves [`Exit::Killed`].
    ///
    /// During a run (from a host function or a hook) the thread ends before the next
    /// dispatch, and one on the CPU at the end of its slice. A panic of a hook, or of a
    /// destructor of a host function's future, unwinds out of this method or of the run.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn kill(self, mut store: impl AsContextMut) -> Result<()> {
        shutdown::kill(store.as_context_mut().0, self)
    }

    /// Keeps the thread from being dispatched until it is [resumed](Self::resume). One on
    /// the CPU goes on until the end of its slice. Suspending a thread twice is the same as
    /// suspending it once.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn suspend(self, mut store: impl AsContextMut) -> Result<()> {
        let store = store.as_context_mut().0;
        store.preemptive_threads()?.suspend(self)?;
        store.running_is_alone_no_more();
        Ok(())
    }

    /// Makes a suspended thread ready, after those that are ready already.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn resume(self, mut store: impl AsContextMut) -> Result<()> {
        let store = store.as_context_mut().0;
        store.preemptive_threads()?.resume(self)?;
        store.running_is_alone_no_more();
        Ok(())
    }

    /// Gives the thread a slice of its own, from its next dispatch on.
    ///
    /// # Errors
    ///
    /// As [`WasmThreads::set_slice`](super::WasmThreads::set_slice), and if there is no such
    /// thread, or it has finished.
    pub fn set_slice(self, mut store: impl AsContextMut, slice: Slice) -> Result<()> {
        let store = store.as_context_mut().0;
        store.preemptive_threads()?.set_slice(self, slice)
    }

    /// Changes what the scheduler knows about the thread.
    ///
    /// # Errors
    ///
    /// If the weight is 0, there is no such thread, or it has finished.
    pub fn set_params(self, mut store: impl AsContextMut, params: ThreadParams) -> Result<()> {
        let store = store.as_context_mut().0;
        store.preemptive_threads()?.set_params(self, params)
    }

    /// Changes the thread's limits, from its next dispatch on. What it has used so far
    /// counts. Wall time counts from when it was spawned, or from now if it had no such
    /// limit before. Where slices are time, this ends the slice of the thread on the CPU.
    ///
    /// # Errors
    ///
    /// If a limit is zero, or of fuel and the engine does not count fuel, there is no such
    /// thread, or it has finished.
    pub fn set_limits(self, mut store: impl AsContextMut, limits: ThreadLimits) -> Result<()> {
        let store = store.as_context_mut().0;
        limits.validate(store.engine().tunables().consume_fuel, false)?;
        let threads = store.preemptive_threads()?;
        threads.set_limits(self, limits)?;
        threads.remote.end_slice();
        Ok(())
    }

    /// Sets the hook that is called once when the thread has finished, however it did:
    /// during a run or a shutdown, while no thread is on the CPU. It may take the thread's
    /// exit, kill threads and, except during a shutdown, spawn some. A [detached] thread is
    /// forgotten after it.
    ///
    /// A panic unwinds out of the run or the shutdown.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    ///
    /// [detached]: super::ThreadOptions::detached
    pub fn on_exit<S: AsContextMut>(
        self,
        mut store: S,
        hook: impl FnOnce(StoreContextMut<'_, S::Data>, ThreadId) + Send + Sync + 'static,
    ) -> Result<()> {
        let hook = Box::new(move |store: &mut dyn VMStore, id| {
            // SAFETY: I13. The hook is kept in a store of this type, and called with
            // that store.
            let mut store = unsafe { store.unchecked_context_mut() };
            spawn::in_lifo_scope(&mut store, |store| hook(store.as_context_mut(), id));
        });
        let store = store.as_context_mut().0;
        store.preemptive_threads()?.set_exit_hook(self, hook)
    }

    /// A handle with which any OS thread can kill the thread, or end its slice, during a
    /// run.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn remote(self, mut store: impl AsContextMut) -> Result<RemoteThread> {
        let threads = store.as_context_mut().0.preemptive_threads()?;
        threads.ensure_live(self, "asked for anything")?;
        Ok(RemoteThread::new(self, threads.remote.clone()))
    }
}
