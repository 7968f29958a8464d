//! Directing guest threads: slices, schedulers, limits, and what can be asked of one.

use super::dispatch;
use super::jitter::Jitter;
use super::limits::{SoftLimit, ThreadLimits};
use super::policy::{Policy, ThreadParams, ThreadScheduler};
use super::remote::ThreadHandle;
use super::slice::Slice;
use super::spawn;
use super::thread::ThreadId;
use super::trace::Trace;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContextMut, SharedMemory, Store, StoreContextMut};

impl<T: 'static> StoreContextMut<'_, T> {
    /// See [`Store::wasm_thread_slice`].
    pub fn wasm_thread_slice(&mut self, slice: Slice) -> Result<()> {
        let threads = self.0.preemptive_threads()?;
        slice.validate(threads.preemption)?;
        threads.slice = slice;
        Ok(())
    }

    /// See [`Store::set_wasm_thread_slice`].
    pub fn set_wasm_thread_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        self.0.preemptive_threads()?.set_slice(id, slice)
    }

    /// See [`Store::wasm_thread_slice_seed`].
    pub fn wasm_thread_slice_seed(&mut self, seed: u64) -> Result<()> {
        self.0.preemptive_threads()?.jitter = Jitter::new(seed);
        Ok(())
    }

    /// See [`Store::wasm_thread_limit`].
    pub fn wasm_thread_limit(&mut self, limit: usize) -> Result<()> {
        self.0.preemptive_threads()?.limit = limit;
        Ok(())
    }

    /// See [`Store::set_wasm_thread_scheduler`].
    ///
    /// # Errors
    ///
    /// Also if a run is on.
    pub fn set_wasm_thread_scheduler(&mut self, scheduler: impl ThreadScheduler) -> Result<()> {
        let threads = self.0.preemptive_threads()?;
        threads.ensure_no_run("another scheduler be set")?;
        threads.set_policy(Policy::Custom(Box::new(scheduler)));
        Ok(())
    }

    /// See [`Store::wasm_thread_scheduler_mut`].
    pub fn wasm_thread_scheduler_mut<S: ThreadScheduler>(&mut self) -> Option<&mut S> {
        self.0.preempt_mut().as_mut()?.scheduler_mut()
    }

    /// See [`Store::set_wasm_thread_params`].
    pub fn set_wasm_thread_params(&mut self, id: ThreadId, params: ThreadParams) -> Result<()> {
        self.0.preemptive_threads()?.set_params(id, params)
    }

    /// See [`Store::set_wasm_thread_limits`].
    pub fn set_wasm_thread_limits(&mut self, id: ThreadId, limits: ThreadLimits) -> Result<()> {
        limits.validate(self.0.engine().tunables().consume_fuel, false)?;
        let threads = self.0.preemptive_threads()?;
        threads.set_limits(id, limits)?;
        threads.remote.end_slice();
        Ok(())
    }

    /// See [`Store::wasm_thread_group_limits`].
    pub fn wasm_thread_group_limits(&mut self, group: u64, limits: ThreadLimits) -> Result<()> {
        limits.validate(self.0.engine().tunables().consume_fuel, true)?;
        ensure!(
            group != 0,
            "group 0 is that of the threads in no group: it has no limits"
        );
        let threads = self.0.preemptive_threads()?;
        threads.set_group_limits(group, limits);
        threads.remote.end_slice();
        Ok(())
    }

    /// See [`Store::wasm_thread_limit_hook`].
    pub fn wasm_thread_limit_hook(
        &mut self,
        mut hook: impl FnMut(StoreContextMut<'_, T>, SoftLimit) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.0.preemptive_threads()?.limit_hook = Some(Box::new(move |store, soft| {
            // SAFETY: I13. The hook is kept in a store of this type, and called with
            // that store.
            let mut store = unsafe { store.unchecked_context_mut() };
            spawn::in_lifo_scope(&mut store, |store| hook(store.as_context_mut(), soft))
        }));
        Ok(())
    }

    /// See [`Store::kill_wasm_thread`].
    pub fn kill_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        dispatch::kill(self.0, id)
    }

    /// See [`Store::suspend_wasm_thread`].
    pub fn suspend_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        self.0.preemptive_threads()?.suspend(id)?;
        self.0.running_is_alone_no_more();
        Ok(())
    }

    /// See [`Store::resume_wasm_thread`].
    pub fn resume_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        self.0.preemptive_threads()?.resume(id)?;
        self.0.running_is_alone_no_more();
        Ok(())
    }

    /// See [`Store::wasm_thread_exit_hook`].
    pub fn wasm_thread_exit_hook(
        &mut self,
        id: ThreadId,
        hook: impl FnOnce(StoreContextMut<'_, T>, ThreadId) + Send + Sync + 'static,
    ) -> Result<()> {
        let hook = Box::new(move |store: &mut dyn VMStore, id| {
            // SAFETY: I13. The hook is kept in a store of this type, and called with
            // that store.
            let mut store = unsafe { store.unchecked_context_mut() };
            spawn::in_lifo_scope(&mut store, |store| hook(store.as_context_mut(), id));
        });
        self.0.preemptive_threads()?.set_exit_hook(id, hook)
    }

    /// See [`Store::wasm_threads_own_memory`].
    pub fn wasm_threads_own_memory(&mut self, memory: &SharedMemory) -> Result<()> {
        let base = memory.data().as_ptr().addr();
        let memory = memory.clone();
        let threads = self.0.preemptive_threads()?;
        threads.own_memories.insert(base, memory);
        Ok(())
    }

    /// See [`Store::wasm_threads_own_all_memories`].
    pub fn wasm_threads_own_all_memories(&mut self, own: bool) -> Result<()> {
        self.0.preemptive_threads()?.own_all_memories = own;
        Ok(())
    }

    /// See [`Store::wasm_thread_handle`].
    pub fn wasm_thread_handle(&mut self, id: ThreadId) -> Result<ThreadHandle> {
        let threads = self.0.preemptive_threads()?;
        threads.ensure_live(id, "asked for anything")?;
        Ok(ThreadHandle::new(id, threads.remote.clone()))
    }

    /// See [`Store::trace_wasm_threads`].
    pub fn trace_wasm_threads(&mut self, capacity: usize) -> Result<()> {
        self.0.preemptive_threads()?.set_trace(capacity)
    }

    /// See [`Store::take_wasm_thread_trace`].
    pub fn take_wasm_thread_trace(&mut self) -> Option<Trace> {
        self.0.preempt_mut().as_mut()?.take_trace()
    }

    /// See [`Store::wasm_thread_sharing`].
    pub fn wasm_thread_sharing(&mut self, allowed: bool) -> Result<()> {
        self.0.preemptive_threads()?.sharing.allowed = allowed;
        Ok(())
    }

    /// See [`Store::wasm_thread_stack_limit`].
    pub fn wasm_thread_stack_limit(&mut self, bytes: usize) -> Result<()> {
        self.0.preemptive_threads()?.stack_limit = bytes;
        Ok(())
    }

    /// See [`Store::wasm_thread_idle_stacks`].
    pub fn wasm_thread_idle_stacks(&mut self, max: usize) -> Result<()> {
        self.0.keep_idle_stacks(max)
    }
}

/// # Directing guest threads
///
/// How long each may run at a time, in which order, and what in all; stopping one, and
/// recording what they all do.
impl<T: 'static> Store<T> {
    /// Sets the slice of all guest threads that have none of their own, from
    /// their next dispatch on.
    ///
    /// A store starts with 10 ms under [`Preemption::Epoch`], and with
    /// 10,000,000 units of fuel under [`Preemption::Fuel`].
    ///
    /// # Errors
    ///
    /// If the slice is zero, too long, or of a kind that the engine's
    /// [`Preemption`] does not measure, or the engine has none. The slice stays
    /// as it was.
    pub fn wasm_thread_slice(&mut self, slice: Slice) -> Result<()> {
        self.as_context_mut().wasm_thread_slice(slice)
    }

    /// Gives one guest thread a slice of its own, from its next dispatch on.
    ///
    /// # Errors
    ///
    /// As [`Store::wasm_thread_slice`], and if there is no such thread or it has
    /// finished.
    pub fn set_wasm_thread_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        self.as_context_mut().set_wasm_thread_slice(id, slice)
    }

    /// Decides by which amounts [slices of fuel](Slice::Fuel) differ, from the next one on: 0
    /// until this is called. The same seed makes for the same schedule.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn wasm_thread_slice_seed(&mut self, seed: u64) -> Result<()> {
        self.as_context_mut().wasm_thread_slice_seed(seed)
    }

    /// Sets how many guest threads this store may have: those that have not
    /// finished, and those whose exit was not taken. 10,000 by default.
    ///
    /// Threads that exist already are not touched.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn wasm_thread_limit(&mut self, limit: usize) -> Result<()> {
        self.as_context_mut().wasm_thread_limit(limit)
    }

    /// Sets how many bytes the stacks of all threads that have not finished may have
    /// together: each has [`Config::async_stack_size`](crate::Config::async_stack_size).
    /// No limit by default. Threads that exist already are not touched.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn wasm_thread_stack_limit(&mut self, bytes: usize) -> Result<()> {
        self.as_context_mut().wasm_thread_stack_limit(bytes)
    }

    /// Sets how many stacks of threads that have finished are kept for the next ones,
    /// beside the one that every store keeps: 64 unless this says otherwise. A kept stack
    /// has the memory that its threads have touched.
    ///
    /// [`Store::shutdown_wasm_threads`] gives them back. Of no effect with the [pooling
    /// allocator](crate::InstanceAllocationStrategy::Pooling), which keeps its stacks
    /// itself.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn wasm_thread_idle_stacks(&mut self, max: usize) -> Result<()> {
        self.as_context_mut().wasm_thread_idle_stacks(max)
    }

    /// Sets whether threads that are spawned from now on may share with others what is
    /// not `shared`: memories, mutable globals and tables. They may not by default, and
    /// spawning such a thread is an error.
    ///
    /// What is given up is the promise of WebAssembly that nobody else changes these
    /// while a function runs: a thread can be preempted between any two instructions,
    /// and the others then see its half-done changes, and it theirs. That is fine if they
    /// take turns by themselves, and to look for races. Two programs in C or Rust that
    /// share an instance corrupt each other's stack, as they would with one stack for
    /// two OS threads.
    /// What is safe for the host stays so: such a guest harms only those with whom it
    /// shares.
    ///
    /// Threads that exist already are not touched. A thread that is spawned after sharing
    /// is forbidden again shares with none of them.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    ///
    /// [`Preemption`]: crate::Preemption
    pub fn wasm_thread_sharing(&mut self, allowed: bool) -> Result<()> {
        self.as_context_mut().wasm_thread_sharing(allowed)
    }

    /// Sets who decides which thread runs next, and for how long, from the next run on:
    /// round robin, until this is called. It is told of all threads that there are.
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use std::time::Duration;
    /// /// Runs the youngest thread that is ready.
    /// #[derive(Default)]
    /// struct LastInFirstOut(Vec<ThreadId>);
    ///
    /// impl ThreadScheduler for LastInFirstOut {
    ///     fn spawned(&mut self, _: u64, thread: ThreadId, _: &ThreadParams) {
    ///         self.0.push(thread);
    ///     }
    ///     fn preempted(&mut self, _: u64, thread: ThreadId, _used: u64) {
    ///         self.0.push(thread);
    ///     }
    ///     fn yielded(&mut self, _: u64, thread: ThreadId, _used: u64) {
    ///         self.0.push(thread);
    ///     }
    ///     fn parked(&mut self, _: u64, thread: ThreadId, _used: u64) {
    ///         self.0.retain(|ready| *ready != thread);
    ///     }
    ///     fn woken(&mut self, _: u64, thread: ThreadId) {
    ///         self.0.push(thread);
    ///     }
    ///     fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
    ///     fn finished(&mut self, _: u64, thread: ThreadId, _used: u64) {
    ///         self.0.retain(|ready| *ready != thread);
    ///     }
    ///     fn next(&mut self, _: u64) -> Option<Pick> {
    ///         let thread = self.0.pop()?;
    ///         Some(Pick { thread, slice: None })
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let mut config = Config::new();
    /// config.preemption(Preemption::Fuel);
    /// let mut store = Store::new(&Engine::new(&config)?, ());
    /// store.set_wasm_thread_scheduler(LastInFirstOut::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A scheduler that picks a thread which is not ready, or none while some are,
    /// makes [`Store::run_wasm_threads_for`] return an error. No thread is lost, and
    /// another scheduler can be set.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn set_wasm_thread_scheduler(&mut self, scheduler: impl ThreadScheduler) -> Result<()> {
        self.as_context_mut().set_wasm_thread_scheduler(scheduler)
    }

    /// The scheduler that was set, if it is an `S`.
    pub fn wasm_thread_scheduler_mut<S: ThreadScheduler>(&mut self) -> Option<&mut S> {
        let store = self.as_context_mut().0;
        store.preempt_mut().as_mut()?.scheduler_mut()
    }

    /// Changes what the scheduler is told about a thread.
    ///
    /// # Errors
    ///
    /// If the weight is 0, or there is no such thread or it has finished.
    pub fn set_wasm_thread_params(&mut self, id: ThreadId, params: ThreadParams) -> Result<()> {
        self.as_context_mut().set_wasm_thread_params(id, params)
    }

    /// Changes what a thread may use in all. What it has used stays used; wall time
    /// counts from when it was spawned, or from now if it had no such limit before.
    /// Of effect from its next dispatch on. Where slices are time, this ends the slice of
    /// the thread on the CPU.
    ///
    /// # Errors
    ///
    /// If a limit is zero, or of fuel and the engine does not count it, or there is no
    /// such thread or it has finished.
    pub fn set_wasm_thread_limits(&mut self, id: ThreadId, limits: ThreadLimits) -> Result<()> {
        self.as_context_mut().set_wasm_thread_limits(id, limits)
    }

    /// Sets what all threads of a [group](ThreadOptions::group) may use together,
    /// beside what each of them may. When that is used up, each of them ends when it
    /// is its turn. What they have used stays used; [`ThreadLimits::new`] forgets it.
    ///
    /// # Errors
    ///
    /// If a limit is zero, or of fuel and the engine does not count it, or of wall
    /// time, or the group is 0.
    pub fn wasm_thread_group_limits(&mut self, group: u64, limits: ThreadLimits) -> Result<()> {
        self.as_context_mut()
            .wasm_thread_group_limits(group, limits)
    }

    /// Sets what is called when a thread reaches a soft limit, in a run, with no thread
    /// on the CPU. It may raise the limits, change the parameters, kill or spawn
    /// threads, or do nothing, and the thread goes on. An error ends the thread, as
    /// [`Exit::Trapped`].
    ///
    /// A thread that reaches it in a guest which a host function has called goes on
    /// until that returns.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn wasm_thread_limit_hook(
        &mut self,
        hook: impl FnMut(StoreContextMut<'_, T>, SoftLimit) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.as_context_mut().wasm_thread_limit_hook(hook)
    }

    /// Ends one guest thread, wherever it is suspended: it leaves [`Exit::Killed`].
    ///
    /// In a run (from a host function, or the hook of a limit) the thread is ended
    /// before the next dispatch, and one that is running when its slice is over. A panic of
    /// a hook, or of a destructor of a host function's future, unwinds out of this method
    /// or of the run.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn kill_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        self.as_context_mut().kill_wasm_thread(id)
    }

    /// Keeps a thread from being dispatched until it is
    /// [resumed](Store::resume_wasm_thread). One that is running goes on until its
    /// slice is over. Suspending one twice is as suspending it once.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn suspend_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        self.as_context_mut().suspend_wasm_thread(id)
    }

    /// Makes a thread ready that was suspended, after those that are ready already.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn resume_wasm_thread(&mut self, id: ThreadId) -> Result<()> {
        self.as_context_mut().resume_wasm_thread(id)
    }

    /// Sets what is called once when a thread has finished, whichever way: in a run or
    /// a shutdown, with no thread on the CPU. It may take the thread's exit, kill threads
    /// and, but for a shutdown, spawn some. After it nothing is left of a [detached] thread.
    ///
    /// A panic unwinds out of the run or the shutdown.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    ///
    /// [detached]: crate::ThreadOptions::detached
    pub fn wasm_thread_exit_hook(
        &mut self,
        id: ThreadId,
        hook: impl FnOnce(StoreContextMut<'_, T>, ThreadId) + Send + Sync + 'static,
    ) -> Result<()> {
        self.as_context_mut().wasm_thread_exit_hook(id, hook)
    }

    /// Tells that nobody but guest threads of this store notifies those that wait for
    /// an atomic in `memory`: if all of them wait for such, and nothing else can wake
    /// them, a run ends with [`RunEnd::Deadlock`](crate::RunEnd::Deadlock). Without
    /// this it sleeps, as another store or OS thread may notify.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`](crate::Preemption).
    pub fn wasm_threads_own_memory(&mut self, memory: &SharedMemory) -> Result<()> {
        self.as_context_mut().wasm_threads_own_memory(memory)
    }

    /// Whether that goes for all shared memories that the store's guests ever have, such
    /// as one that a guest waits in before anybody else can get at it. Not so by default.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`](crate::Preemption).
    pub fn wasm_threads_own_all_memories(&mut self, own: bool) -> Result<()> {
        self.as_context_mut().wasm_threads_own_all_memories(own)
    }

    /// A handle with which any OS thread can kill a thread, or end its slice, while a
    /// run is on.
    ///
    /// # Errors
    ///
    /// If there is no such thread, or it has finished.
    pub fn wasm_thread_handle(&mut self, id: ThreadId) -> Result<ThreadHandle> {
        self.as_context_mut().wasm_thread_handle(id)
    }

    /// Records what happens to guest threads from now on: the latest `capacity` events,
    /// for which memory is allocated here. 0 stops it. The threads that there are
    /// already are recorded as if they were spawned now.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], or there is no memory for so many events.
    pub fn trace_wasm_threads(&mut self, capacity: usize) -> Result<()> {
        self.as_context_mut().trace_wasm_threads(capacity)
    }

    /// Takes what was recorded so far, and goes on recording. `None` if nothing is.
    pub fn take_wasm_thread_trace(&mut self) -> Option<Trace> {
        self.as_context_mut().take_wasm_thread_trace()
    }
}
