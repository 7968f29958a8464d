//! WASI for the guest threads of a Store: a call that has to wait parks only the calling
//! guest thread, and its siblings keep running.
//!
//! For modules, add it with [`p1::add_to_linker`] where you would call
//! `wasmtime_wasi::p1::add_to_linker_sync`; for components, with [`p2::add_to_linker`] where
//! you would call `wasmtime_wasi::p2::add_to_linker_async`. In plain calls, both wait as
//! upstream's do. The context is wasmtime-wasi's own, built with
//! [`WasiCtxBuilder`](wasmtime_wasi::WasiCtxBuilder) and any streams you like.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use wasmtime::{Config, Engine, Linker, Module, Preemption, Result, RunEnd, Store};
//! use wasmtime_wasi::WasiCtxBuilder;
//!
//! # fn main() -> Result<()> {
//! let mut config = Config::new();
//! config.preemption(Preemption::for_this_host());
//! let engine = Engine::new(&config)?;
//! // Sleeps for 50 ms.
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "wasi_snapshot_preview1" "poll_oneoff"
//!             (func $poll (param i32 i32 i32 i32) (result i32)))
//!         (memory (export "memory") 1)
//!         (data (i32.const 24) "\80\f0\fa\02") ;; in nanoseconds
//!         (func (export "_start")
//!             (drop (call $poll
//!                 (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#,
//! )?;
//! let mut linker = Linker::new(&engine);
//! preempt_wasi::p1::add_to_linker(&mut linker, |context| context)?;
//!
//! let mut store = Store::new(&engine, WasiCtxBuilder::new().build_p1());
//! for _ in 0..20 {
//!     let start = linker.instantiate(&mut store, &module)?.get_func(&mut store, "_start");
//!     store.spawn_wasm_thread(start.unwrap(), &[])?;
//! }
//! let started = Instant::now();
//! let run = store.run_wasm_threads_for(Duration::MAX)?;
//! assert_eq!(run.end, RunEnd::AllFinished);
//! // All of them slept at the same time.
//! assert!(started.elapsed() < Duration::from_millis(20 * 50));
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod clock;
#[cfg(feature = "http")]
pub mod http;
mod iovecs;
mod listing;
pub mod p1;
pub mod p2;
mod poll;
mod shared_wait;
mod stdio;
mod wait;

pub use clock::Clock;
