//! Guest programs with threads of their own, by the ABI of [wasi-threads]. Each thread is a
//! guest thread of one Wasmtime [`Store`](wasmtime::Store), on a fiber rather than an OS
//! thread.
//!
//! # The ABI
//!
//! A program is a module that
//!
//! - imports a shared memory, under any name;
//! - imports `wasi.thread-spawn(start_arg: i32) -> i32`;
//! - exports `_start`, the first thread's function;
//! - exports `wasi_thread_start(tid: i32, start_arg: i32)`, the function of all other
//!   threads.
//!
//! `clang --target=wasm32-wasip1-threads` makes such modules, as do other toolchains. A
//! [`Program`] is a checked module with a [`Linker`](wasmtime::Linker) for its other
//! imports, such as WASI. [`Program::spawn`] makes a [`Process`] from it: a new memory, and
//! a guest thread that calls `_start`. Each call of `thread-spawn` adds a thread to the
//! process, with its own instance over the same memory. Every thread starts its own
//! instance, so the module's start function is preempted, limited and killed like any other
//! code of the thread. The threads run when the store [runs its threads], scheduled like
//! all others in the store. A module without threads can be spawned as a process, too. If one
//! that imports `thread-spawn` has no shared memory or no `wasi_thread_start`, it cannot have
//! other threads, and `thread-spawn` returns [`REFUSED`].
//!
//! ```
//! use preempt_wasi_threads::{Process, ProcessOptions, Program};
//! use std::time::Duration;
//! use wasmtime::preempt::*;
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
//! A process ends when its first thread ends in any way, or when another thread ends
//! without returning: by a trap, by an error from a host function (which is how WASI's
//! `proc_exit` leaves a guest), by being killed, or by going over a limit. All other
//! threads of the process are then killed, wherever they are; other processes are
//! unaffected. The process's [`Outcome`] records how it ended and which thread ended it.
//!
//! If all threads of a store wait for each other, the run ends with
//! [`RunEnd::Deadlock`](wasmtime::RunEnd::Deadlock), which tells who waits for what. The
//! threads stay as they are: [`Process::kill`] ends them.
//!
//! # Limits
//!
//! A process may have up to [`ProcessOptions::max_threads`] at a time, and up to
//! [`ProcessOptions::max_instances`] in all. Its store has limits
//! [on threads](wasmtime::preempt::WasmThreads::set_max_threads),
//! [on stacks](wasmtime::preempt::WasmThreads::set_max_stack_bytes), and
//! [on instances](wasmtime::ResourceLimiter::instances). When a limit is reached, or there
//! is no memory for a stack or an instance, `thread-spawn` returns [`REFUSED`], which is
//! negative, and changes nothing. It also does so in a process that is about to end.
//!
//! [`ProcessOptions::threads`] limits the time or fuel of each thread. The limits of the
//! threads' [group](wasmtime::ThreadOptions::group) apply to the whole process.
//! [`ProcessOptions::max_memory`] limits the process's memory, which no
//! [`ResourceLimiter`](wasmtime::ResourceLimiter) is asked about.
//!
//! # Recycling
//!
//! A store never frees an instance or a memory. So when a thread returns, its instance is
//! reused. It is first [reset](wasmtime::preempt::InstanceSnapshot::restore): its globals, tables,
//! unshared memories and segments go back to what they were after instantiation, so the next
//! thread cannot tell the difference. Reuse also makes starting a thread faster. It is not
//! possible for a module with more than 4 MiB of unshared memories of its own, or after
//! `memory.grow` of one of these, `table.grow` or `elem.drop`; each new thread then takes a new
//! instance, until the limit is reached.
//!
//! A process that has ended leaves behind its memory, and as many instances as it had
//! threads at a time, until the store is dropped. If there is no end to the processes,
//! switch to a new store now and then.
//!
//! [wasi-threads]: https://github.com/WebAssembly/wasi-threads
//! [runs its threads]: wasmtime::Store::run_wasm_threads_for

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod abi;
mod guest;
mod instances;
mod options;
mod process;
mod program;
mod table;

pub use abi::REFUSED;
pub use options::ProcessOptions;
pub use process::{Outcome, Process, Stats};
pub use program::Program;
pub use table::Tid;
