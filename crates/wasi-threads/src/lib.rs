//! Guest programs with threads of their own, by the ABI of [wasi-threads]: each
//! thread is a guest thread of one Wasmtime [`Store`](wasmtime::Store), on a fiber, and
//! not an OS thread.
//!
//! # The ABI
//!
//! A program is a module that
//!
//! - imports a shared memory, under any name;
//! - imports `wasi.thread-spawn(start_arg: i32) -> i32`;
//! - exports `_start`, the first thread's function;
//! - exports `wasi_thread_start(tid: i32, start_arg: i32)`, that of all others.
//!
//! `clang --target=wasm32-wasip1-threads` makes such modules, and so do others. A
//! [`Program`] is a module that was checked, with a [`Linker`](wasmtime::Linker) for
//! whatever else it imports, such as WASI. [`Program::spawn`] makes a [`Process`] of
//! it: a new memory, and a guest thread that calls `_start`. Whenever a thread of the
//! process calls `thread-spawn`, there is one more: with an instance of its own, over
//! the same memory. Each starts its instance itself, so that a start function of the
//! module is preempted, limited and killed like all else of its thread. They run when the
//! store [runs its threads], like any others that it has, in the order of its scheduler.
//! A process may be spawned of a module without threads, too.
//!
//! ```
//! use preempt_wasi_threads::{Process, ProcessOptions, Program};
//! use std::time::Duration;
//! use wasmtime::*;
//!
//! # fn main() -> Result<()> {
//! let mut config = Config::new();
//! config.preemption(Preemption::for_this_host()).shared_memory(true);
//! let engine = Engine::new(&config)?;
//! // Starts a thread, and waits until that has written to the memory.
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "env" "memory" (memory 1 1 shared))
//!         (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
//!         (func (export "_start")
//!             (if (i32.lt_s (call $spawn (i32.const 42)) (i32.const 0))
//!                 (then unreachable))
//!             (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))
//!         (func (export "wasi_thread_start") (param $tid i32) (param $arg i32)
//!             (i32.atomic.store (i32.const 8) (local.get $arg))
//!             (drop (memory.atomic.notify (i32.const 8) (i32.const 1)))))"#,
//! )?;
//! let program = Program::new(&module, &Linker::new(&engine))?;
//!
//! let mut store = Store::new(&engine, ());
//! let process: Process = program.spawn(&mut store, ProcessOptions::new())?;
//! store.run_wasm_threads_for(Duration::MAX)?;
//! let outcome = process.outcome().expect("it has ended");
//! assert!(matches!(outcome.exit, Exit::Returned(_)));
//! assert_eq!(process.stats().started, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # How a process ends
//!
//! When its first thread ends, in whichever way; and when any other ends without
//! having returned: by a trap, by an error of a host function, which is how WASI's
//! `proc_exit` leaves a guest, since it was killed, or went over a limit. All its other
//! threads are killed then, wherever they are, and none of another process. How and by
//! whom the process was ended is its [`Outcome`].
//!
//! If all threads of a store wait for each other, its run ends with
//! [`RunEnd::Deadlock`](wasmtime::RunEnd::Deadlock), and tells who waits for what. The
//! threads stay as they are: [`Process::kill`] ends them.
//!
//! # Limits
//!
//! A process may have [`ProcessOptions::max_threads`] at a time, and
//! [`ProcessOptions::max_instances`]; its store has limits
//! [of threads](wasmtime::Store::wasm_thread_limit),
//! [of stacks](wasmtime::Store::wasm_thread_stack_limit), and
//! [of instances](wasmtime::ResourceLimiter::instances). Where one is reached, or there
//! is no memory left for a stack or an instance, `thread-spawn` returns
//! [`REFUSED`], which is less than zero, and nothing has changed. It does so too in a
//! process that is about to end.
//!
//! What each thread may use, of time or fuel, is in [`ProcessOptions::threads`], and
//! what the process may in the limits of their
//! [group](wasmtime::ThreadOptions::group).
//! [`ProcessOptions::max_memory`] is for its memory, which no
//! [`ResourceLimiter`](wasmtime::ResourceLimiter) is asked about.
//!
//! # Recycling
//!
//! A store never frees an instance, nor a memory. So the instance of a thread that has
//! returned is used again: it is [reset](wasmtime::Store::reset_wasm_instance), which
//! is to say that its globals, tables and segments are what they were after
//! instantiation, and the next thread cannot tell. That makes starting a thread faster,
//! too. It does not work for a module with an unshared memory of its own, nor after
//! `table.grow` or `elem.drop`: then each thread that is started takes a new instance,
//! until the limit is reached.
//!
//! A process that has ended leaves its memory, and as many instances as it had threads
//! at a time, for as long as there is the store. Use a new store now and then if there
//! is no end to the processes.
//!
//! [wasi-threads]: https://github.com/WebAssembly/wasi-threads
//! [runs its threads]: wasmtime::Store::run_wasm_threads_for

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod guest;
mod instances;
mod options;
mod process;
mod program;
mod table;

pub use guest::REFUSED;
pub use options::ProcessOptions;
pub use process::{Outcome, Process, Stats};
pub use program::Program;
pub use table::Tid;
