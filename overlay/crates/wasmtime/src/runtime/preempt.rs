//! Preemptive guest threads.
//!
//! A guest thread is one call of a Wasm function on a fiber of its own inside a
//! [`Store`]. The store runs its guest threads in turns, on the OS thread that
//! asks it to, and takes the CPU from one that does not give it back.
//!
//! ```text
//!  Store API          spawn, run, shut down, inspect              preempt.rs
//!    |                slices, schedulers, limits, traces          control.rs
//!    |
//!  spawn.rs           parameters -> fiber          exit.rs  fiber -> results
//!    |                                             typed.rs  both, with Rust types
//!    |                                             starting.rs  instances, first
//!    |                                             recycle.rs  instances once more
//!    |                                             sharing.rs  who may interleave
//!    |                                             stacks.rs  used again
//!    |                                             mappings.rs  how many there may be
//!    |
//!  threads.rs         their states                thread.rs  seen from outside
//!   threads/*.rs      an entry for each; scheduling, parking, limiting, ...
//!    |                                             policy.rs  who is next
//!    |                                             trace.rs  what happened
//!  dispatch.rs        the loop                     limits.rs  what they may use
//!    |     executor.rs  as a future                 alarm.rs  when it sleeps
//!    |                                             wait.rs  asleep on an OS thread
//!    |                                             remote.rs  other OS threads' wishes
//!    |                                             shutdown.rs  kill, drop
//!  blocking.rs        suspending from synchronous code
//!    ^
//!  park.rs            waiting                     concurrent.rs  for host futures
//!    |                                             atomic.rs  for notifications
//!  fuel.rs            out_of_gas libcalls          slice.rs  how long
//!  epoch.rs           new_epoch libcall            timer.rs  one OS thread
//!  signal.rs          timer signal -> stub         signal/x86_64.rs  the stub
//!  host_return.rs     the ends of host calls       jitter.rs  slices out of step
//! ```
//!
//! Rule numbers (I1, I2, ...) are those of docs/safety.md.

#![deny(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here cites the rule that makes it sound"
)]

use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::store::StoreOpaque;
use crate::{
    AsContextMut, Caller, Func, Store, StoreContextMut, TypedFunc, Val, WasmParams, WasmResults,
};
use core::time::Duration;

mod alarm;
#[cfg(feature = "threads")]
pub(crate) mod atomic;
pub(crate) mod blocking;
mod clock;
mod concurrent;
pub(crate) mod config;
mod control;
mod dispatch;
pub(crate) mod epoch;
mod executor;
mod exit;
pub(crate) mod fuel;
pub(crate) mod host_return;
mod jitter;
mod limits;
#[cfg_attr(not(target_os = "linux"), path = "preempt/mappings_unlimited.rs")]
mod mappings;
mod park;
mod policy;
mod recycle;
mod remote;
mod sharing;
mod shutdown;
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    path = "preempt/signal/unsupported.rs"
)]
pub(crate) mod signal;
mod slice;
mod spawn;
mod stacks;
mod starting;
mod thread;
mod threads;
mod timer;
mod trace;
mod typed;
mod wait;

pub use self::concurrent::Accessor;
pub use self::dispatch::{RunEnd, RunSummary};
pub use self::executor::RunWasmThreads;
pub use self::exit::{Exit, TypedExit};
pub use self::limits::{OverLimit, SoftLimit, ThreadLimits};
pub use self::park::WaitFor;
pub use self::policy::{Pick, ThreadParams, ThreadScheduler};
pub use self::recycle::InstanceSnapshot;
pub use self::remote::ThreadHandle;
#[cfg(all(debug_assertions, target_arch = "x86_64", target_os = "linux"))]
#[doc(hidden)]
pub use self::signal::interrupt;
pub use self::slice::{Preemption, Slice};
pub use self::spawn::ThreadOptions;
pub use self::thread::{ThreadId, ThreadInfo, ThreadState, ThreadStats, TypedThreadId};
pub(crate) use self::threads::PreemptiveThreads;
pub(crate) use self::timer::EpochTimer;
pub use self::trace::{Trace, TraceEvent, Traced};

/// Why a guest thread leaves the CPU before it has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Its slice is over.
    SliceOver,
    /// The run is over, or somebody is to be ended, where slices are fuel and know nothing
    /// of time: its slice goes on when it is dispatched the next time, before anybody else.
    Paused,
    /// It gives the CPU up, or waits.
    Yielded,
}

/// Why, and where, a guest thread is suspended.
struct Suspension {
    why: Leave,
    /// Where compiled code may have the fuel counter in a register.
    fuel_in_register: bool,
    /// What it waits for.
    park: Option<Box<park::Park>>,
}

impl Suspension {
    const PREEMPTED: Suspension = Suspension {
        why: Leave::SliceOver,
        fuel_in_register: true,
        park: None,
    };
    const YIELDED: Suspension = Suspension {
        why: Leave::Yielded,
        fuel_in_register: true,
        park: None,
    };
}

/// Suspends the running guest thread, whose `context` this is, and returns when it
/// is its turn again. Call hooks see it leave Wasm and come back.
///
/// # Errors
///
/// If it was killed meanwhile, or a call hook says so: the caller must unwind.
// Inlined, as is what calls it: after a switch of stacks the CPU mispredicts each return
// on the way up.
#[inline(always)]
fn preemptive_yield(
    store: &mut dyn VMStore,
    context: blocking::Taken,
    why: Suspension,
) -> Result<()> {
    // All four are told, whichever of them fails: they come in pairs. To a hook a libcall
    // is the host, as the stub is.
    #[cfg(feature = "call-hook")]
    let left = {
        let left = store.call_hook(crate::CallHook::ReturningFromHost);
        left.and(store.call_hook(crate::CallHook::ReturningFromWasm))
    };
    #[cfg(not(feature = "call-hook"))]
    let left = Ok(());
    let opaque = store.store_opaque_mut();
    if let Some(running) = opaque.running_thread_mut() {
        running.left = why.why;
        running.fuel_in_register = why.fuel_in_register;
        running.park = why.park;
    }
    // Until it goes on, nobody is in a host call.
    let in_host = opaque.replace_in_host(0);
    let resumed = left.and_then(|()| blocking::suspend(context));
    store.store_opaque_mut().replace_in_host(in_host);
    // Also if it was killed: unwinding leaves the host and Wasm once more.
    #[cfg(feature = "call-hook")]
    let resumed = {
        let entered = store.call_hook(crate::CallHook::CallingWasm);
        let entered = entered.and(store.call_hook(crate::CallHook::CallingHost));
        resumed.and(entered)
    };
    resumed
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// See [`Store::spawn_wasm_thread`].
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.spawn_wasm_thread_with(func, params, ThreadOptions::new())
    }

    /// See [`Store::spawn_wasm_thread_with`].
    pub fn spawn_wasm_thread_with(
        &mut self,
        func: Func,
        params: &[Val],
        options: ThreadOptions,
    ) -> Result<ThreadId> {
        let call = spawn::Call::checked(self.0, func, params)?;
        spawn::spawn(self, call, options)
    }

    /// See [`Store::spawn_typed_wasm_thread`].
    pub fn spawn_typed_wasm_thread<P, R>(
        &mut self,
        func: &TypedFunc<P, R>,
        params: P,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        self.spawn_typed_wasm_thread_with(func, params, ThreadOptions::new())
    }

    /// See [`Store::spawn_typed_wasm_thread_with`].
    pub fn spawn_typed_wasm_thread_with<P, R>(
        &mut self,
        func: &TypedFunc<P, R>,
        params: P,
        options: ThreadOptions,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        typed::spawn(self, func, params, options)
    }

    /// See [`Store::run_wasm_threads_for`].
    ///
    /// # Errors
    ///
    /// Also if the calling host function was itself called by a guest thread of
    /// this store.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        dispatch::run_for(self.0, time)
    }

    /// See [`Store::shutdown_wasm_threads`].
    ///
    /// # Errors
    ///
    /// If the calling host function was itself called by a guest thread of this
    /// store.
    pub fn shutdown_wasm_threads(&mut self) -> Result<usize> {
        shutdown::shutdown(self.0)
    }

    /// See [`Store::take_wasm_thread_exit`].
    pub fn take_wasm_thread_exit(&mut self, id: ThreadId) -> Option<Exit> {
        self.0.take_thread_exit(id)
    }

    /// See [`Store::take_typed_wasm_thread_exit`].
    pub fn take_typed_wasm_thread_exit<R>(&mut self, id: TypedThreadId<R>) -> Option<TypedExit<R>>
    where
        R: WasmResults,
    {
        typed::take_exit(self, id)
    }

    /// See [`Store::wasm_thread`].
    pub fn wasm_thread(&self, id: ThreadId) -> Option<ThreadInfo<'_>> {
        self.0.preempt()?.get(id)
    }

    /// See [`Store::wasm_threads`].
    pub fn wasm_threads(&self) -> impl Iterator<Item = ThreadInfo<'_>> {
        self.0
            .preempt()
            .into_iter()
            .flat_map(|threads| threads.list())
    }

    /// See [`Caller::current_wasm_thread`].
    pub fn current_wasm_thread(&self) -> Option<ThreadId> {
        Some(self.0.running_thread()?.id)
    }
}

/// # Preemptive guest threads
///
/// A guest thread is one call of a Wasm function, on a stack of its own. It is
/// spawned in the store that owns the function, and runs whenever the store is
/// asked to [run its threads](Store::run_wasm_threads_for): on the calling OS
/// thread, a [`Slice`] at a time, round robin or in the order of a
/// [`ThreadScheduler`]. A guest that never yields cannot keep its siblings from
/// running. What it may use in all is up to its [`ThreadLimits`].
///
/// Needs [`Config::preemption`](crate::Config::preemption).
///
/// ```
/// # use wasmtime::*;
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// let mut config = Config::new();
/// config.preemption(Preemption::Epoch);
/// let engine = Engine::new(&config)?;
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (func (export "spin") (loop br 0))
///         (func (export "answer") (result i32) i32.const 42))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let a = Instance::new(&mut store, &module, &[])?;
/// let b = Instance::new(&mut store, &module, &[])?;
/// let spin = a.get_func(&mut store, "spin").unwrap();
/// let answer = b.get_typed_func::<(), i32>(&mut store, "answer")?;
///
/// let spin = store.spawn_wasm_thread(spin, &[])?;
/// let answer = store.spawn_typed_wasm_thread(&answer, ())?;
/// let run = store.run_wasm_threads_for(Duration::from_millis(50))?;
/// assert_eq!(run.end, RunEnd::TimeUp);
/// assert_eq!(run.finished, 1);
/// assert!(matches!(
///     store.take_typed_wasm_thread_exit(answer),
///     Some(TypedExit::Returned(42))
/// ));
///
/// assert_eq!(store.shutdown_wasm_threads(), 1);
/// assert!(matches!(store.take_wasm_thread_exit(spin), Some(Exit::Killed)));
/// # Ok(())
/// # }
/// ```
///
/// ## What guest threads can see of each other
///
/// A guest thread may be preempted between any two of its instructions, and
/// WebAssembly lets others change what it sees in `shared` memories only. So two
/// threads that have not finished cannot have a memory which is not `shared`, a
/// mutable global or a table in common: spawning the second one is an error. What
/// counts is what the function's instance defines and imports, and what the
/// instances behind its imports do.
///
/// Give each guest thread an instance of its own, and let them share `shared`
/// memories. Most instances have a memory and a stack pointer, and so are good for
/// one thread at a time; pure functions of one instance may interleave.
/// [`Store::wasm_thread_sharing`] allows everything.
///
/// ```
/// # use wasmtime::*;
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// # let mut config = Config::new();
/// # config.preemption(Preemption::Fuel);
/// # let engine = Engine::new(&config)?;
/// let module = Module::new(
///     &engine,
///     r#"(module (memory (export "heap") 1) (func (export "work")))"#,
/// )?;
/// # let mut store = Store::new(&engine, ());
/// let a = Instance::new(&mut store, &module, &[])?;
/// let work = a.get_func(&mut store, "work").unwrap();
/// store.spawn_wasm_thread(work, &[])?;
/// let error = store.spawn_wasm_thread(work, &[]).unwrap_err();
/// assert!(error.to_string().contains("memory `heap`"));
///
/// // Another instance has other state.
/// let b = Instance::new(&mut store, &module, &[])?;
/// let work_of_b = b.get_func(&mut store, "work").unwrap();
/// store.spawn_wasm_thread(work_of_b, &[])?;
///
/// // Once its thread has finished, an instance can be used again.
/// store.run_wasm_threads_for(Duration::MAX)?;
/// store.spawn_wasm_thread(work, &[])?;
/// # Ok(())
/// # }
/// ```
///
/// ## Host functions
///
/// A guest thread is preempted in its own code only. While it is in a host
/// function, and while that host function calls back into a guest, no sibling
/// runs: a slice that is over meanwhile ends when the thread's own code goes
/// on. Host functions may be synchronous or asynchronous
/// ([`Func::wrap_async`](crate::Func::wrap_async)). As an asynchronous one
/// borrows the store, its thread *keeps* the store while it is pending: the run
/// sleeps, and goes on with that very thread.
impl<T: 'static> Store<T> {
    /// Spawns a guest thread which will call `func` with `params`.
    ///
    /// It runs when [`Store::run_wasm_threads_for`] gives it its turn, after
    /// those that were ready before.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], `func` or a parameter belongs to
    /// another store, the parameters do not match the function's type, the thread
    /// would [share](Store::wasm_thread_sharing) what is not `shared` with one that
    /// has not finished, the store has [as many threads as it
    /// may](Store::wasm_thread_limit), or there is no memory for another stack.
    /// Nothing has changed then.
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }

    /// As [`Store::spawn_wasm_thread`], with a name, a slice, limits and whatever else
    /// [`ThreadOptions`] has.
    ///
    /// # Errors
    ///
    /// As [`Store::spawn_wasm_thread`], and if the slice is one that
    /// [`Store::wasm_thread_slice`] would refuse, a limit is zero, or one of fuel is asked of
    /// an engine that does not count it.
    pub fn spawn_wasm_thread_with(
        &mut self,
        func: Func,
        params: &[Val],
        options: ThreadOptions,
    ) -> Result<ThreadId> {
        self.as_context_mut()
            .spawn_wasm_thread_with(func, params, options)
    }

    /// As [`Store::spawn_wasm_thread`], with parameters and results whose types
    /// are known to Rust.
    ///
    /// # Errors
    ///
    /// As [`Store::spawn_wasm_thread`].
    pub fn spawn_typed_wasm_thread<P, R>(
        &mut self,
        func: &TypedFunc<P, R>,
        params: P,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        self.as_context_mut().spawn_typed_wasm_thread(func, params)
    }

    /// As [`Store::spawn_wasm_thread_with`], with parameters and results whose
    /// types are known to Rust.
    ///
    /// # Errors
    ///
    /// As [`Store::spawn_wasm_thread_with`].
    pub fn spawn_typed_wasm_thread_with<P, R>(
        &mut self,
        func: &TypedFunc<P, R>,
        params: P,
        options: ThreadOptions,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        self.as_context_mut()
            .spawn_typed_wasm_thread_with(func, params, options)
    }

    /// Runs guest threads in turns until all have finished, or those that have not wait for
    /// what nobody does, or `time` is up: see [`RunEnd`].
    ///
    /// The first slice, host function or libcall that ends when `time` is up is the last:
    /// the run is late by at most one slice of fuel, by the time that a guest
    /// takes from one epoch check to the next, and by what a host function or one
    /// bulk operation on a memory or table takes, or the former waits for. A `time` of
    /// zero runs nothing; `Duration::MAX` puts no end to it.
    ///
    /// A trap, a stack overflow, or an error of a host function ends its own
    /// thread only, and is found in that thread's [`Exit`]. A panic of a host
    /// function unwinds out of this method after its thread was ended, and the
    /// other threads can be run on.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], or the OS refuses to make the timer
    /// thread that the first run under [`Preemption::Epoch`] needs. Also if the
    /// [`ThreadScheduler`] that was set picks a thread which is not ready, or none
    /// while some are: the run is over then, and all threads are as they were.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        self.as_context_mut().run_wasm_threads_for(time)
    }

    /// Ends all guest threads that have not finished, wherever they are
    /// suspended, and returns how many that were. Each leaves [`Exit::Killed`].
    ///
    /// The store can be used afterwards, and threads be spawned in it. While the threads are
    /// being ended none can be spawned, by [hooks](Store::wasm_thread_exit_hook) say.
    /// Dropping a store does the same first.
    ///
    /// If host code panics meanwhile (a hook, the destructor of a host function's future),
    /// the other threads are ended all the same, and then the panic unwinds out of this
    /// method.
    pub fn shutdown_wasm_threads(&mut self) -> usize {
        // A run would borrow the store, so none is on.
        self.as_context_mut().shutdown_wasm_threads().unwrap_or(0)
    }

    /// How the guest thread `id` ended, once: after this the store has forgotten
    /// the thread.
    ///
    /// `None` if it has not finished, or it was detached, or its exit was taken
    /// before, or there never was such a thread in this store.
    pub fn take_wasm_thread_exit(&mut self, id: ThreadId) -> Option<Exit> {
        self.as_context_mut().take_wasm_thread_exit(id)
    }

    /// As [`Store::take_wasm_thread_exit`], for a thread that was spawned with
    /// [`Store::spawn_typed_wasm_thread`].
    ///
    /// Also `None` if that was another store.
    pub fn take_typed_wasm_thread_exit<R>(&mut self, id: TypedThreadId<R>) -> Option<TypedExit<R>>
    where
        R: WasmResults,
    {
        self.as_context_mut().take_typed_wasm_thread_exit(id)
    }

    /// The guest thread `id`, if it has not finished or its exit was not taken.
    pub fn wasm_thread(&self, id: ThreadId) -> Option<ThreadInfo<'_>> {
        self.inner_opaque().preempt()?.get(id)
    }

    /// All guest threads that have not finished or whose exit was not taken, in
    /// the order in which they were spawned.
    pub fn wasm_threads(&self) -> impl Iterator<Item = ThreadInfo<'_>> {
        let threads = self.inner_opaque().preempt();
        threads.into_iter().flat_map(|threads| threads.list())
    }
}

impl<T: 'static> Caller<'_, T> {
    /// See [`Store::spawn_wasm_thread`].
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }

    /// See [`Store::spawn_wasm_thread_with`].
    pub fn spawn_wasm_thread_with(
        &mut self,
        func: Func,
        params: &[Val],
        options: ThreadOptions,
    ) -> Result<ThreadId> {
        self.as_context_mut()
            .spawn_wasm_thread_with(func, params, options)
    }

    /// See [`Store::set_wasm_thread_slice`].
    pub fn set_wasm_thread_slice(&mut self, id: ThreadId, slice: Slice) -> Result<()> {
        self.as_context_mut().set_wasm_thread_slice(id, slice)
    }

    /// See [`Store::take_wasm_thread_exit`].
    pub fn take_wasm_thread_exit(&mut self, id: ThreadId) -> Option<Exit> {
        self.as_context_mut().take_wasm_thread_exit(id)
    }

    /// See [`Store::wasm_thread`].
    pub fn wasm_thread(&self, id: ThreadId) -> Option<ThreadInfo<'_>> {
        self.store_opaque().preempt()?.get(id)
    }

    /// See [`Store::wasm_threads`].
    pub fn wasm_threads(&self) -> impl Iterator<Item = ThreadInfo<'_>> {
        let threads = self.store_opaque().preempt();
        threads.into_iter().flat_map(|threads| threads.list())
    }

    /// The guest thread that called this host function, and `None` if it was a
    /// plain call.
    ///
    /// This is also the thread whose host function called a guest that called
    /// this one.
    pub fn current_wasm_thread(&self) -> Option<ThreadId> {
        Some(self.store_opaque().running_thread()?.id)
    }

    fn store_opaque(&self) -> &StoreOpaque {
        crate::AsContext::as_context(self).0
    }
}

impl<T: 'static> Store<T> {
    fn inner_opaque(&self) -> &StoreOpaque {
        crate::AsContext::as_context(self).0
    }
}
