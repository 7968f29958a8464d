//! Operations on a guest thread, by its id.

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
    /// What the thread is doing, and what it has used. `None` if its exit was taken, or if the
    /// store never had such a thread.
    pub fn info<'a, T: 'static>(
        self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Option<ThreadInfo<'a>> {
        store.into().0.preempt()?.get(self)
    }

    /// How the thread ended. Taking this makes the store forget the thread.
    ///
    /// `None` if the thread has not finished or is detached, if its exit was taken before, or if
    /// the store never had such a thread.
    pub fn take_exit(self, mut store: impl AsContextMut) -> Option<Exit> {
        store.as_context_mut().0.take_thread_exit(self)
    }

    /// Ends the thread, wherever it is, with [`Exit::Killed`].
    ///
    /// During a run (from a host function or a hook), the thread ends before the next dispatch,
    /// or after its slice if it is on the CPU. If a hook, or a destructor of a host function's
    /// future, panics, the panic unwinds out of this method or of the run.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn kill(self, mut store: impl AsContextMut) -> Result<()> {
        shutdown::kill(store.as_context_mut().0, self)
    }

    /// Keeps the thread from being dispatched until it is [resumed](Self::resume). A thread on
    /// the CPU first finishes its slice. Suspending a thread twice is the same as suspending it
    /// once.
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

    /// Makes a suspended thread ready, behind those already ready.
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

    /// Gives the thread its own slice, from its next dispatch on.
    ///
    /// # Errors
    ///
    /// The same as for [`WasmThreads::set_slice`](super::WasmThreads::set_slice), and if there
    /// is no such thread, or it has finished.
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

    /// Changes the thread's limits, from its next dispatch on. Past use counts. Wall time counts
    /// from the spawn, or from now if the thread had no wall time limit before. Where slices are
    /// time, this ends the slice of the thread on the CPU.
    ///
    /// # Errors
    ///
    /// If a limit is zero, there is a fuel limit but the engine does not count fuel, there is no
    /// such thread, or it has finished.
    pub fn set_limits(self, mut store: impl AsContextMut, limits: ThreadLimits) -> Result<()> {
        let store = store.as_context_mut().0;
        limits.validate(store.engine().tunables().consume_fuel, false)?;
        let threads = store.preemptive_threads()?;
        threads.set_limits(self, limits)?;
        threads.remote.end_slice();
        Ok(())
    }

    /// Sets a hook to call once when the thread has finished, however it ended. It is called
    /// during a run or a shutdown, while no thread is on the CPU. It may take the thread's exit,
    /// kill threads and, except during a shutdown, spawn threads. A [detached] thread is
    /// forgotten after the call.
    ///
    /// A panic in the hook unwinds out of the run or the shutdown.
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

    /// A handle that lets any OS thread kill the thread, or end its slice, during a run.
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
