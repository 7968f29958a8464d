//! The handles of guest threads: what can be asked of one.

use super::dispatch;
use super::exit::{Exit, TypedExit};
use super::info::ThreadInfo;
use super::limits::ThreadLimits;
use super::policy::ThreadParams;
use super::remote::RemoteThread;
use super::slice::Slice;
use super::{spawn, typed};
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::store::StoreId;
use crate::{AsContextMut, StoreContext, StoreContextMut, WasmResults};
use core::fmt;
use core::hash::Hasher;
use core::marker::PhantomData;
use core::ops::Deref;

/// A guest thread of a store: its handle. Ids are never reused.
///
/// An id belongs to the store that spawned the thread. In another store it stands for
/// another thread, or for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(super) u64);

impl ThreadId {
    /// This id as a number: the first thread of a store is 1, the next 2, and so on.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id whose [`ThreadId::as_u64`] is `id`, for one that was written down. There may
    /// be no such thread.
    pub fn from_u64(id: u64) -> ThreadId {
        ThreadId(id)
    }

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
        dispatch::kill(store.as_context_mut().0, self)
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

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A guest thread whose function returns `Results`: its handle, with all that
/// [`ThreadId`] has.
pub struct TypedThreadId<Results> {
    id: ThreadId,
    /// The types are those of this store's thread.
    store: StoreId,
    _results: PhantomData<fn() -> Results>,
}

impl<Results> TypedThreadId<Results> {
    pub(super) fn new(store: StoreId, id: ThreadId) -> Self {
        TypedThreadId {
            id,
            store,
            _results: PhantomData,
        }
    }

    pub(super) fn store(self) -> StoreId {
        self.store
    }

    /// The id without the type of the results.
    pub fn id(self) -> ThreadId {
        self.id
    }

    /// As [`ThreadId::take_exit`]. Also `None` in another store than that of the thread.
    pub fn take_exit(self, mut store: impl AsContextMut) -> Option<TypedExit<Results>>
    where
        Results: WasmResults,
    {
        typed::take_exit(&mut store.as_context_mut(), self)
    }
}

impl<Results> Deref for TypedThreadId<Results> {
    type Target = ThreadId;

    fn deref(&self) -> &ThreadId {
        &self.id
    }
}

impl<Results> Clone for TypedThreadId<Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Results> Copy for TypedThreadId<Results> {}

impl<Results> fmt::Debug for TypedThreadId<Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// Ids count up from 1, so spreading them over the high bits, which is what the
/// table picks its buckets by, is all the hashing they need.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio: Fibonacci hashing, Knuth, "The Art
        // of Computer Programming", volume 3, section 6.4.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
