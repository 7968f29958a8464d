//! Preemptive guest threads.
//!
//! A guest thread is one call of a Wasm function on a fiber of its own inside a
//! [`Store`]. The store runs its guest threads in turns, on the OS thread that asks it to,
//! and takes the CPU from those that do not give it back. See [`Store`'s
//! documentation](crate::Store#preemptive-guest-threads) for how to spawn and run them.
//!
//! | for | there is |
//! |---|---|
//! | spawning | [`Store::spawn_wasm_thread`], [`ThreadOptions`] |
//! | running | [`Store::run_wasm_threads_for`], [`Store::run_wasm_threads_async`], [`RunSummary`] |
//! | one thread | its handle: [`ThreadId`], [`TypedThreadId`]; [`RemoteThread`] on other OS threads |
//! | all of them | [`Store::wasm_threads`]: [`WasmThreads`] |
//! | results | [`Exit`], [`TypedExit`] |
//! | ending all | [`Store::shutdown_wasm_threads`] |
//! | limits | [`ThreadLimits`], [`OverLimit`], [`SoftLimit`] |
//! | schedulers | [`ThreadScheduler`], [`ThreadParams`], [`Pick`] |
//! | host functions that wait | [`Linker::func_wrap_concurrent`](crate::Linker::func_wrap_concurrent), [`ConcurrentCaller`] |
//! | instances used again | [`InstanceSnapshot`] |
//! | what happened | [`ThreadInfo`], [`Trace`] |

// The files, and who builds on whom:
//
//  Store API          spawn, run, shut down, inspect              preempt.rs
//    |                what applies to all threads                  view.rs
//    |                what applies to one                          id.rs
//    |
//  spawn.rs           parameters -> fiber          exit.rs  fiber -> results
//    |                                             typed.rs  both, with Rust types
//    |                                             starting.rs  instances, first
//    |                                             recycle.rs  instances once more
//    |                                             sharing.rs  who may interleave
//    |                                             stacks.rs  used again
//    |                                             mappings.rs  how many there may be
//    |
//  threads.rs         their states                info.rs  seen from outside
//   threads/*.rs      an entry for each; scheduling, parking, limiting, ...
//    |                                             policy.rs  who is next
//    |                                             trace.rs  what happened
//  dispatch.rs        the loop                     limits.rs  what they may use
//    |     executor.rs  as a future                 alarm.rs  when it sleeps
//    |                                             wait.rs  asleep on an OS thread
//    |                                             remote.rs  other OS threads' wishes
//    |                                             shutdown.rs  kill, drop
//  blocking.rs        suspending from synchronous code
//    ^
//  park.rs            waiting                     concurrent.rs  for host futures
//    |                                             atomic.rs  for notifications
//  fuel.rs            out_of_gas libcalls          slice.rs  how long
//  epoch.rs           new_epoch libcall            timer.rs  one OS thread
//  signal.rs          timer signal -> stub         signal/x86_64.rs  the stub
//  host_return.rs     the ends of host calls       jitter.rs  slices out of step
//
// Rule numbers (I1, I2, ...) are those of docs/safety.md.

#![deny(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here cites the rule that makes it sound"
)]

use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContextMut, Caller, Func, Store, StoreContextMut, Val};
use core::time::Duration;

mod alarm;
#[cfg(feature = "threads")]
pub(crate) mod atomic;
pub(crate) mod blocking;
mod clock;
mod concurrent;
pub(crate) mod config;
mod dispatch;
pub(crate) mod epoch;
mod executor;
mod exit;
pub(crate) mod fuel;
pub(crate) mod host_return;
mod id;
mod info;
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
mod threads;
mod timer;
mod trace;
mod typed;
mod view;
mod wait;

pub use self::concurrent::ConcurrentCaller;
pub use self::dispatch::{RunEnd, RunSummary};
pub use self::executor::RunWasmThreads;
pub use self::exit::{Exit, TypedExit};
pub use self::id::{ThreadId, TypedThreadId};
pub use self::info::{ThreadInfo, ThreadState, ThreadStats};
pub use self::limits::{OverLimit, SoftLimit, ThreadLimits};
pub use self::park::WaitFor;
pub use self::policy::{Pick, ThreadParams, ThreadScheduler};
pub use self::recycle::InstanceSnapshot;
pub use self::remote::RemoteThread;
#[cfg(all(debug_assertions, target_arch = "x86_64", target_os = "linux"))]
#[doc(hidden)]
pub use self::signal::interrupt;
pub use self::slice::{Preemption, Slice};
pub use self::spawn::ThreadOptions;
pub(crate) use self::threads::PreemptiveThreads;
pub(crate) use self::timer::EpochTimer;
pub use self::trace::{Trace, TraceEvent, Traced};
pub use self::view::WasmThreads;

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
        ThreadOptions::new().spawn(self, func, params)
    }

    /// See [`Store::run_wasm_threads_for`].
    ///
    /// # Errors
    ///
    /// Also if the calling host function was itself called by a guest thread of this
    /// store.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        dispatch::run_for(self.0, time)
    }

    /// See [`Store::shutdown_wasm_threads`].
    ///
    /// # Errors
    ///
    /// If the calling host function was itself called by a guest thread of this store.
    pub fn shutdown_wasm_threads(&mut self) -> Result<usize> {
        shutdown::shutdown(self.0)
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
/// let answer = ThreadOptions::new().spawn_typed(&mut store, &answer, ())?;
/// let run = store.run_wasm_threads_for(Duration::from_millis(50))?;
/// assert_eq!(run.end, RunEnd::TimeUp);
/// assert_eq!(run.finished, 1);
/// assert!(matches!(
///     answer.take_exit(&mut store),
///     Some(preempt::TypedExit::Returned(42))
/// ));
///
/// assert_eq!(store.shutdown_wasm_threads(), 1);
/// assert!(matches!(spin.take_exit(&mut store), Some(Exit::Killed)));
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
/// [`WasmThreads::set_sharing_allowed`] allows everything.
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
    /// Spawns a guest thread that calls `func` with `params`. [`ThreadOptions`] spawns
    /// threads with a name, a slice or limits, with typed parameters, or in an instance of
    /// their own.
    ///
    /// It runs when [`Store::run_wasm_threads_for`] dispatches it, after those that are ready
    /// already.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], `func` or a parameter belongs to another store,
    /// the parameters do not match the function's type, the thread would
    /// [share](WasmThreads::set_sharing_allowed) state that is not `shared` with an
    /// unfinished one, the store has [as many threads as it
    /// may](WasmThreads::set_max_threads), or there is no memory for another stack. Nothing
    /// has changed then.
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }

    /// Runs guest threads in turns until all have finished, nothing can wake the ones that
    /// wait, or `time` is up: see [`RunEnd`].
    ///
    /// The first slice, host function or libcall that ends after `time` is up is the last
    /// one. So the run is late by at most one slice of fuel, the time that a guest takes from
    /// one epoch check to the next, or the time that a host function or one bulk operation on
    /// a memory or table takes, including what the host function waits for. A `time` of zero
    /// runs nothing; `Duration::MAX` sets no end.
    ///
    /// A trap, a stack overflow, or an error of a host function ends its own thread only,
    /// and is found in that thread's [`Exit`]. A panic of a host function unwinds out of
    /// this method after its thread has ended, and the other threads can be run on.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], or the OS refuses to make the timer thread that
    /// the first run under [`Preemption::Epoch`] needs. Also if the
    /// [`ThreadScheduler`] picks a thread that is not ready, or none while some are: then
    /// the run is over, and all threads are as they were.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        self.as_context_mut().run_wasm_threads_for(time)
    }

    /// Ends all guest threads that have not finished, wherever they are, and returns their
    /// number. Each leaves [`Exit::Killed`].
    ///
    /// The store can be used afterwards, and threads can be spawned in it. None can be spawned
    /// during the shutdown, for example by [hooks](ThreadId::on_exit). Dropping a store does
    /// the same first.
    ///
    /// If host code panics meanwhile (a hook, the destructor of a host function's future),
    /// the other threads are ended all the same, and then the panic unwinds out of this
    /// method.
    pub fn shutdown_wasm_threads(&mut self) -> usize {
        // A run would borrow the store, so there is none.
        self.as_context_mut().shutdown_wasm_threads().unwrap_or(0)
    }
}

impl<T: 'static> Caller<'_, T> {
    /// See [`Store::spawn_wasm_thread`].
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }
}
