//! Preemptive guest threads.
//!
//! A guest thread is a call of a Wasm function on its own fiber inside a [`Store`]. The store
//! runs its guest threads in turn on the calling OS thread, and preempts those that do not
//! yield. See [`Store`'s documentation](crate::Store#preemptive-guest-threads) for how to
//! spawn and run them.
//!
//! | for | see |
//! |---|---|
//! | spawning | [`Store::spawn_wasm_thread`], [`ThreadOptions`] |
//! | running | [`Store::run_wasm_threads_for`], [`Store::run_wasm_threads_async`], [`RunSummary`] |
//! | calls of components | `ThreadOptions::spawn_component`, `ComponentThreadId` |
//! | one thread | its handle: [`ThreadId`], [`TypedThreadId`]; [`RemoteThread`] on other OS threads |
//! | all threads | [`Store::wasm_threads`]: [`WasmThreads`] |
//! | results | [`Exit`], [`TypedExit`] |
//! | ending all threads | [`Store::shutdown_wasm_threads`] |
//! | limits | [`ThreadLimits`], [`OverLimit`], [`SoftLimit`] |
//! | CPU rates and shares | [`ThreadLimits::cpu_rate`], [`Tenant`]; [`RunWasmThreads::share`], [`CpuShare`] |
//! | schedulers | [`ThreadScheduler`], [`ThreadParams`], [`Pick`] |
//! | host functions that wait | [`Linker::func_wrap_concurrent`](crate::Linker::func_wrap_concurrent), [`ConcurrentCaller`] |
//! | reusing instances | [`InstanceSnapshot`] |
//! | what happened | [`ThreadInfo`], [`Trace`] |
//! | epochs without checks, and without guest threads | [`EpochDelivery`] |
//! | deadlines in time, without guest threads | [`Store::set_time_deadline`], [`TimeDeadline`] |

// The files. Imports are acyclic: `cargo xtask lint` draws them, and fails on a cycle.
//
//  handle.rs          operations on one thread     view.rs  and on all of them
//    |                                             info.rs  a thread as reported
//    |
//  spawn.rs           parameters -> fiber          options.rs  spawn options
//    |                                             typed.rs  with Rust types
//    |                                             starting.rs  in a new instance
//    |                                             component_thread.rs  of a component
//    |                                             recycle.rs  in a reused one
//    |                                             exit.rs  fiber -> results
//    |
//  run.rs             the loop                     executor.rs  as a future
//    |                                             budget.rs  of a poll, by shares
//    |                                             shutdown.rs  every way to end a thread
//  dispatch.rs        the thread on the CPU        prefetch.rs  what the next one needs
//    |
//  threads.rs         the store's threads          id.rs  their IDs
//   threads/state.rs  their states                 policy.rs  what may decide who runs next
//   threads/*.rs      records, scheduling, parking, wait_clock, limiting, ...
//    |                                             limits.rs  what they may use
//    |                                             rate.rs  and per period
//    |                                             sharing.rs  who may interleave
//    |                                             components.rs  who is in which component
//    |                                              components/calls.rs  the calls that are
//    |                                             remote.rs  other OS threads' requests
//    |                                             storage.rs  what must stay while they do
//    |                                             stacks.rs, mappings.rs  their stacks
//    |                                             store.rs  for the rest of Wasmtime
//    |                                             trace.rs  the event record
//    |
//  park.rs            waiting                      concurrent.rs  for host futures
//    |                                             concurrent_func.rs  in host functions
//    |                                             atomic.rs  for notifications
//    |                                             thread_waker.rs  what wakes it
//    |                                             wait.rs, alarm.rs  on an OS thread
//    |                                             fork.rs  OS threads and forks
//    |                                             virtual_clock.rs  for a time made of fuel
//    |
//  source.rs          what ends slices: the door   slice.rs  how long they are
//   source/fuel.rs    out_of_gas libcalls          source/jitter.rs  varies slices
//   source/epoch.rs   new_epoch libcall            source/epoch_timer.rs  one OS thread
//                                                  source/slots.rs  when it is to tick
//   source/signal.rs  timer signal -> stub         source/signal/  handler, timer, stub
//   source/host_return.rs  ends of host calls      source/host_call.rs  their state
//   source/attention.rs  whether those check       source/host_results.rs  rooted meanwhile
//   source/interrupt.rs  by other OS threads
//    |
//  suspend.rs         leaving the CPU              tasks.rs  a component's tasks, meanwhile
//
// For all of them: config.rs (what an engine needs for this), clock.rs (time as one number),
// contention.rs (counts what OS threads share), sync.rs (what the models of tests/kernel replace).
//
// Not guest threads, but by the same signal, handler and stub: epochs.rs (`EpochDelivery`),
// epoch_delivery.rs and epoch_delivery/ (epochs of plain calls, without checks). By that and by
// checks: time_deadline.rs and time_deadline/.
//
// Hooks in upstream's files have no `cfg`: `../preempt_disabled.rs` is what they call without
// the feature.
//
// Rule numbers (I1, I2, ...) refer to docs/safety.md.

#![deny(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here cites the rule that makes it sound"
)]

use crate::prelude::*;
use crate::{AsContextMut, Caller, Func, Store, StoreContextMut, Val};
use core::time::Duration;

mod alarm;
#[cfg(feature = "threads")]
pub(crate) mod atomic;
mod budget;
mod clock;
#[cfg(feature = "component-model")]
mod component_thread;
#[cfg(feature = "component-model")]
pub(crate) mod components;
mod concurrent;
mod concurrent_func;
pub(crate) mod config;
mod contention;
mod dispatch;
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )),
    path = "preempt/epoch_delivery/unsupported.rs"
)]
pub(crate) mod epoch_delivery;
mod epochs;
mod executor;
mod exit;
mod fork;
mod handle;
mod id;
mod info;
mod limits;
#[cfg_attr(not(target_os = "linux"), path = "preempt/mappings_unlimited.rs")]
mod mappings;
mod options;
mod park;
mod policy;
mod prefetch;
mod rate;
mod recycle;
mod remote;
mod run;
mod sharing;
mod shutdown;
mod slice;
pub(crate) mod source;
mod spawn;
mod stacks;
mod starting;
mod storage;
mod store;
pub(crate) mod suspend;
mod sync;
#[cfg_attr(not(feature = "component-model"), path = "preempt/tasks_disabled.rs")]
mod tasks;
mod thread_waker;
mod threads;
mod time_deadline;
mod trace;
mod typed;
mod view;
mod virtual_clock;
mod wait;

pub use self::budget::CpuShare;
#[cfg(feature = "component-model")]
pub use self::component_thread::ComponentThreadId;
pub use self::concurrent::ConcurrentCaller;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use self::contention::shared_writes;
pub use self::epochs::EpochDelivery;
pub use self::executor::RunWasmThreads;
pub use self::exit::{Exit, TypedExit};
pub use self::id::{ThreadId, TypedThreadId};
pub use self::info::{ThreadInfo, ThreadState, ThreadStats};
pub use self::limits::{OverLimit, SoftLimit, ThreadLimits};
pub use self::options::ThreadOptions;
pub use self::park::WaitFor;
pub use self::policy::{Pick, ThreadParams, ThreadScheduler};
pub use self::rate::Tenant;
pub use self::recycle::InstanceSnapshot;
pub use self::remote::{RemoteThread, ThreadOnCpu};
pub use self::run::{RunEnd, RunSummary};
pub use self::slice::{Preemption, Slice};
pub(crate) use self::source::epoch_timer::EpochTimer as EpochCounter;
#[cfg(all(
    debug_assertions,
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
#[doc(hidden)]
pub use self::source::signal::interrupt;
pub(crate) use self::store::{StoreThreads, take_blocking_context};
pub use self::time_deadline::{TimeDeadline, TimeDeadlineReached, UpdateTimeDeadline};
pub use self::trace::{Trace, TraceEvent, Traced};
pub use self::view::WasmThreads;
pub use self::virtual_clock::VirtualClock;

impl<T: 'static> StoreContextMut<'_, T> {
    /// See [`Store::spawn_wasm_thread`].
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        ThreadOptions::new().spawn(self, func, params)
    }

    /// See [`Store::run_wasm_threads_for`].
    ///
    /// # Errors
    ///
    /// In addition, if the calling host function was itself called by a guest thread of this
    /// store.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        run::run_for(self.0, time)
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
/// A guest thread is a call of a Wasm function on its own stack. It is spawned in the store
/// that owns the function, and runs when the store [runs its
/// threads](Store::run_wasm_threads_for) on the calling OS thread. Threads run for a
/// [`Slice`] at a time, round robin or in the order of a [`ThreadScheduler`]. A guest that
/// never yields cannot starve its siblings. [`ThreadLimits`] bound a thread's total use.
///
/// Requires [`Config::preemption`](crate::Config::preemption).
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
/// A guest thread may be preempted between any two instructions, and WebAssembly lets others
/// change only `shared` memories under it. So two unfinished threads may share `shared`
/// memories and no other mutable state: spawning a thread that would share any other memory,
/// a mutable global or a table is an error. The check covers what the function's instance
/// defines and imports, and what the instances behind its imports do.
///
/// Give each guest thread its own instance, and let them share `shared` memories. Most
/// instances have a memory and a stack pointer, so they can host one thread at a time; pure
/// functions of one instance may interleave. [`WasmThreads::set_sharing_allowed`] lifts these
/// restrictions.
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
/// A guest thread is preempted only in its own code. A slice that expires while it is in a host
/// function, or in a guest that the host function calls back into, ends when the host function
/// returns. Whether siblings run meanwhile depends on the host function's kind:
///
/// | host function | its siblings |
/// |---|---|
/// | synchronous ([`Func::wrap`](crate::Func::wrap)) | wait until it returns |
/// | asynchronous ([`Func::wrap_async`](crate::Func::wrap_async)) | wait until it returns: its future borrows the store, so its thread *keeps* the store, and the run sleeps while it is pending |
/// | concurrent ([`Linker::func_wrap_concurrent`](crate::Linker::func_wrap_concurrent)) | run while it is pending: its thread is *parked* |
impl<T: 'static> Store<T> {
    /// Spawns a guest thread that calls `func` with `params`. Use [`ThreadOptions`] to set a
    /// name, a slice or limits, to pass typed parameters, or to give the thread its own
    /// instance.
    ///
    /// It runs when [`Store::run_wasm_threads_for`] dispatches it, after the threads that are
    /// already ready.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], `func` or a parameter belongs to another store,
    /// the parameters do not match the function's type, the thread would
    /// [share](WasmThreads::set_sharing_allowed) unshared state with an unfinished thread,
    /// the store is at its [thread limit](WasmThreads::set_max_threads), or there is no
    /// memory for another stack. Nothing changes on error.
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }

    /// Runs guest threads in turn until all have finished, nothing can wake the parked ones,
    /// or `time` is up: see [`RunEnd`].
    ///
    /// The run stops at the first slice, host function or libcall to end after `time` is up.
    /// It is late by at most one slice of fuel, the time between two epoch checks of a guest,
    /// or the time of one host function (including its waits) or one bulk operation on a
    /// memory or table. A `time` of zero runs nothing; `Duration::MAX` sets no end.
    ///
    /// A trap, a stack overflow or a host function's error ends only its own thread, and is
    /// reported in that thread's [`Exit`]. A host function's panic unwinds out of this method
    /// after its thread has ended; the other threads can still be run.
    ///
    /// # Errors
    ///
    /// If the engine has no [`Preemption`], or the OS refuses what its source needs: the
    /// engine's timer thread, or the OS thread's timer and signal handler. Also if the
    /// [`ThreadScheduler`] picks a thread that is not ready, or none while some are: the run
    /// then ends, and all threads stay as they were.
    pub fn run_wasm_threads_for(&mut self, time: Duration) -> Result<RunSummary> {
        self.as_context_mut().run_wasm_threads_for(time)
    }

    /// Ends all unfinished guest threads, wherever they are, and returns their number. Each
    /// exits with [`Exit::Killed`].
    ///
    /// The store can be used, and threads spawned in it, afterwards. None can be spawned
    /// during the shutdown, for example by [hooks](ThreadId::on_exit). Dropping a store shuts
    /// it down first.
    ///
    /// If host code panics during the shutdown (a hook, the destructor of a host function's
    /// future), the other threads are still ended, and then the panic unwinds out of this
    /// method.
    pub fn shutdown_wasm_threads(&mut self) -> usize {
        // A run would borrow the store, so none is active.
        self.as_context_mut().shutdown_wasm_threads().unwrap_or(0)
    }
}

impl<T: 'static> Caller<'_, T> {
    /// See [`Store::spawn_wasm_thread`].
    pub fn spawn_wasm_thread(&mut self, func: Func, params: &[Val]) -> Result<ThreadId> {
        self.as_context_mut().spawn_wasm_thread(func, params)
    }
}
