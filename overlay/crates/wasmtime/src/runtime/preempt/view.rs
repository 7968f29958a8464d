//! Operations on all guest threads of a store: slices, the scheduler, how many, stacks,
//! sharing, limits of groups, traces.

use super::id::ThreadId;
use super::info::ThreadInfo;
use super::limits::{SoftLimit, ThreadLimits};
use super::options::ThreadOptions;
use super::policy::{Policy, ThreadScheduler};
use super::remote::ThreadOnCpu;
use super::slice::{Preemption, Slice};
use super::source::jitter::Jitter;
use super::spawn;
use super::trace::Trace;
use super::virtual_clock::VirtualClock;
use crate::prelude::*;
use crate::{AsContextMut, Caller, SharedMemory, Store, StoreContextMut};
use core::fmt;

/// All guest threads of a store: see [`Store::wasm_threads`].
///
/// Use a [`ThreadId`] to control a single thread.
pub struct WasmThreads<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
}

impl<T: 'static> Store<T> {
    /// The store's guest threads as a whole: to list them, and to set what applies to all.
    pub fn wasm_threads(&mut self) -> WasmThreads<'_, T> {
        self.as_context_mut().into()
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// See [`Store::wasm_threads`].
    pub fn wasm_threads(&mut self) -> WasmThreads<'_, T> {
        self.as_context_mut().into()
    }
}

impl<T: 'static> Caller<'_, T> {
    /// See [`Store::wasm_threads`].
    pub fn wasm_threads(&mut self) -> WasmThreads<'_, T> {
        self.as_context_mut().into()
    }
}

impl<'a, T: 'static> From<StoreContextMut<'a, T>> for WasmThreads<'a, T> {
    fn from(store: StoreContextMut<'a, T>) -> Self {
        WasmThreads { store }
    }
}

impl<T: 'static> fmt::Debug for WasmThreads<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.store.0.preempt();
        let threads = threads.into_iter().flat_map(|threads| threads.list());
        f.debug_list().entries(threads).finish()
    }
}

impl<'a, T: 'static> WasmThreads<'a, T> {
    /// The threads in the order in which they were spawned: those that have not finished,
    /// and those whose exit has not been taken.
    pub fn iter(self) -> impl Iterator<Item = ThreadInfo<'a>> {
        let threads = self.store.0.preempt();
        threads.into_iter().flat_map(|threads| threads.list())
    }

    /// The number of threads that [`iter`](Self::iter) lists.
    pub fn len(&self) -> usize {
        self.store.0.preempt().map_or(0, |threads| threads.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The guest thread that called the current host function, directly or through
    /// another host function and guest. `None` in a plain call.
    pub fn current(&self) -> Option<ThreadId> {
        Some(self.store.0.running_thread()?.id)
    }

    /// A handle that tells which thread is on the CPU: for host functions that reach the store's
    /// data only, such as those of wasmtime-wasi, to pick what belongs to the thread that has called
    /// them.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`].
    pub fn thread_on_cpu(&mut self) -> Result<ThreadOnCpu> {
        let threads = self.store.0.preemptive_threads()?;
        Ok(ThreadOnCpu::new(threads.remote.clone()))
    }

    /// Sets the slice of all threads that have none of their own, from their next
    /// dispatch on.
    ///
    /// The default is 10 ms under [`Preemption::Epoch`] and [`Preemption::Signal`], and
    /// 10,000,000 units of fuel under [`Preemption::Fuel`].
    ///
    /// # Errors
    ///
    /// If the slice is zero, too long, or of a kind that the engine's [`Preemption`] does
    /// not measure, or the engine has no preemption source. The slice stays as it was.
    ///
    /// [`Preemption`]: super::Preemption
    /// [`Preemption::Epoch`]: super::Preemption::Epoch
    /// [`Preemption::Fuel`]: super::Preemption::Fuel
    /// [`Preemption::Signal`]: super::Preemption::Signal
    pub fn set_slice(&mut self, slice: Slice) -> Result<()> {
        let threads = self.store.0.preemptive_threads()?;
        slice.validate(threads.preemption)?;
        threads.slice = slice;
        Ok(())
    }

    /// Seeds the generator that shortens [slices of fuel](Slice::Fuel), from the next slice
    /// on. The default is 0. The same seed makes the same schedule.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_slice_seed(&mut self, seed: u64) -> Result<()> {
        self.store.0.preemptive_threads()?.jitter = Jitter::new(seed);
        Ok(())
    }

    /// Has timed waits go by a virtual clock from now on: [`ConcurrentCaller::sleep`] and
    /// `memory.atomic.wait`. So runs that are otherwise the same do not depend on how fast
    /// the machine is.
    ///
    /// The clock advances by a nanosecond for each unit of fuel that guest threads use. While
    /// no thread is ready, it skips to the time at which the first one wakes, even if something
    /// outside the store could wake one earlier. [CPU rates](ThreadLimits::cpu_rate) go by this
    /// clock, too, and count fuel as CPU time. The run's own time, and limits on time, go by
    /// the OS's clock. So do sleeps in futures that are polled with a waker of their own, and
    /// in plain calls; the virtual clock skips to their end. [`WaitFor::Time`] is of no use
    /// with a virtual clock.
    ///
    /// # Errors
    ///
    /// If slices are not fuel, somebody waits already, or a thread belongs to a tenant.
    ///
    /// [`ConcurrentCaller::sleep`]: super::ConcurrentCaller::sleep
    /// [`WaitFor::Time`]: super::WaitFor::Time
    pub fn set_virtual_clock(&mut self, clock: VirtualClock) -> Result<()> {
        let threads = self.store.0.preemptive_threads()?;
        ensure!(
            threads.preemption == Preemption::Fuel,
            "a virtual clock follows fuel, so it needs `Preemption::Fuel`, and not \
             `Preemption::{:?}`",
            threads.preemption
        );
        ensure!(
            threads.next_alarm().is_none(),
            "a virtual clock cannot be set while a guest thread waits for a time"
        );
        ensure!(
            !threads.any_tenant(),
            "a virtual clock cannot be set while a guest thread belongs to a tenant, whose CPU \
             rate goes by the OS's clock"
        );
        threads.set_virtual_clock(clock);
        Ok(())
    }

    /// Brings the [virtual clock](Self::set_virtual_clock), if there is one, up to date with
    /// what the running thread has done in its slice.
    pub fn update_virtual_clock(&mut self) {
        self.store.0.virtual_now();
    }

    /// Limits the number of threads: the unfinished ones, and those whose exit has not been
    /// taken. The default is 10,000.
    ///
    /// Existing threads are not affected.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_max_threads(&mut self, max: usize) -> Result<()> {
        self.store.0.preemptive_threads()?.limit = max;
        Ok(())
    }

    /// For tests: threads are numbered from `start` on, and so are places in the queue. As if the
    /// store had been used for that long.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub fn count_from(&mut self, start: u64) -> Result<()> {
        self.store.0.preemptive_threads()?.count_from(start);
        Ok(())
    }

    /// Limits the total size of the stacks of all unfinished threads. Each stack has
    /// [`Config::async_stack_size`](crate::Config::async_stack_size) bytes. By default there
    /// is no limit. Existing threads are not affected.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_max_stack_bytes(&mut self, bytes: usize) -> Result<()> {
        self.store.0.preemptive_threads()?.stack_limit = bytes;
        Ok(())
    }

    /// Sets how many stacks of finished threads are kept for reuse, in addition to the one
    /// that every store keeps. The default is 64. A kept stack holds on to the memory that
    /// its threads have touched.
    ///
    /// [`Store::shutdown_wasm_threads`] frees them. This has no effect with the [pooling
    /// allocator](crate::InstanceAllocationStrategy::Pooling), which keeps its stacks
    /// itself.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_max_idle_stacks(&mut self, max: usize) -> Result<()> {
        self.store.0.keep_idle_stacks(max)
    }

    /// Allows or forbids threads spawned from now on to share memories that are not
    /// `shared`, mutable globals, and tables. By default this is forbidden: spawning such a
    /// thread is an error.
    ///
    /// WebAssembly promises that nothing else changes this state while a function runs.
    /// Sharing breaks that promise: a thread can be preempted between any two instructions,
    /// and its siblings then see its half-done changes. That is fine for threads that
    /// coordinate their turns, or to look for races. Two C or Rust programs in one instance
    /// corrupt each other's stack. The host stays safe: such a guest harms only those that it
    /// shares with.
    ///
    /// Existing threads are not affected. A thread spawned after sharing is forbidden again
    /// shares with none of them.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_sharing_allowed(&mut self, allowed: bool) -> Result<()> {
        self.store.0.preemptive_threads()?.sharing.allowed = allowed;
        Ok(())
    }

    /// Declares that only this store's guest threads notify waiters in `memory`. A run then
    /// ends with [`RunEnd::Deadlock`](crate::RunEnd::Deadlock) if every unfinished thread
    /// waits there. Without this declaration, the run sleeps, as another store or OS thread
    /// may notify them.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn own_memory(&mut self, memory: &SharedMemory) -> Result<()> {
        let base = memory.data().as_ptr().addr();
        let memory = memory.clone();
        let threads = self.store.0.preemptive_threads()?;
        threads.own_memories.insert(base, memory);
        Ok(())
    }

    /// Declares the same, or the opposite, for all present and future shared memories of the
    /// store's guests, such as one that a guest waits in before the embedder can access it.
    /// The default is `false`.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_own_all_memories(&mut self, own: bool) -> Result<()> {
        self.store.0.preemptive_threads()?.own_all_memories = own;
        Ok(())
    }

    /// Sets the scheduler: it decides which thread runs next, and for how long. The default
    /// is round robin. The new scheduler is notified of all existing threads.
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use wasmtime::preempt::*;
    /// /// Runs the ready thread that was spawned last.
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
    /// store.wasm_threads().set_scheduler(LastInFirstOut::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If a scheduler picks a thread that is not ready, or none while some are,
    /// [`Store::run_wasm_threads_for`] returns an error. No thread is lost, and another
    /// scheduler can be set.
    ///
    /// # Errors
    ///
    /// During a run, and if the engine has no preemption source.
    pub fn set_scheduler(&mut self, scheduler: impl ThreadScheduler) -> Result<()> {
        let threads = self.store.0.preemptive_threads()?;
        threads.ensure_no_run("another scheduler be set")?;
        threads.set_policy(Policy::Custom(Box::new(scheduler)));
        Ok(())
    }

    /// The scheduler that was set, if it is an `S`.
    pub fn scheduler_mut<S: ThreadScheduler>(self) -> Option<&'a mut S> {
        self.store.0.preempt_mut().as_mut()?.scheduler_mut()
    }

    /// Limits what all threads of a [group](ThreadOptions::group) may use together, in
    /// addition to each thread's own limits. Once a limit is reached, each thread of the
    /// group ends at its next dispatch. Past use counts; [`ThreadLimits::new`] resets it.
    ///
    /// # Errors
    ///
    /// If a limit is zero, limits fuel that the engine does not count, or limits wall time, a CPU
    /// rate is out of bounds, or the group is 0.
    pub fn set_group_limits(&mut self, group: u64, limits: ThreadLimits) -> Result<()> {
        limits.validate(self.store.0.engine().tunables().consume_fuel, true)?;
        ensure!(
            group != 0,
            "group 0 is that of the threads in no group: it has no limits"
        );
        let threads = self.store.0.preemptive_threads()?;
        threads.set_group_limits(group, limits);
        threads.remote.end_slice();
        Ok(())
    }

    /// Sets the hook that is called when a thread reaches a soft limit, during a run, while
    /// no thread is on the CPU. It may raise limits, change parameters, kill or spawn
    /// threads; then the thread continues. An error ends the thread with
    /// [`Exit::Trapped`](crate::Exit::Trapped).
    ///
    /// If the thread reaches the limit in a guest called by a host function, it continues
    /// until that host function returns.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source.
    pub fn set_soft_limit_hook(
        &mut self,
        mut hook: impl FnMut(StoreContextMut<'_, T>, SoftLimit) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.store.0.preemptive_threads()?.limit_hook = Some(Box::new(move |store, soft| {
            // SAFETY: I13. The hook is kept in a store of this type, and called with
            // that store.
            let mut store = unsafe { store.unchecked_context_mut() };
            spawn::in_lifo_scope(&mut store, |store| hook(store.as_context_mut(), soft))
        }));
        Ok(())
    }

    /// Starts recording what happens to guest threads: the latest `capacity` events, with
    /// memory allocated up front. 0 stops recording. Existing threads are recorded as if
    /// spawned now.
    ///
    /// # Errors
    ///
    /// If the engine has no preemption source, or there is no memory for that many events.
    pub fn set_trace(&mut self, capacity: usize) -> Result<()> {
        self.store.0.preemptive_threads()?.set_trace(capacity)
    }

    /// Takes the events recorded so far, and keeps recording. `None` if nothing is being
    /// recorded.
    pub fn take_trace(&mut self) -> Option<Trace> {
        self.store.0.preempt_mut().as_mut()?.take_trace()
    }

    /// Checks that a thread with these options can be spawned, whatever it calls. Call this
    /// before making an instance for the thread, as a store never frees instances.
    ///
    /// # Errors
    ///
    /// If the thread or stack limit is reached, there is no memory for a stack, or the
    /// options are invalid.
    pub fn ensure_can_spawn(&mut self, options: &ThreadOptions) -> Result<()> {
        spawn::ensure_can_spawn(self.store.0, options)?;
        self.store.0.ensure_stack()
    }
}
