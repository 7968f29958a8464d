//! Functions for guests that know about guest threads.
//!
//! No guest needs them: preemption asks nobody, and a guest that sleeps can use
//! [`wasi`](crate::wasi). They are imported from the module `preempt`:
//!
//! | function | what it does |
//! |---|---|
//! | `yield()` | lets the other ready guest threads go first |
//! | `sleep(nanoseconds: i64)` | waits for that long; the number is unsigned |
//! | `current() -> i64` | the id of the calling guest thread; 0 in a plain call |
//! | `join(id: i64)` | waits until that guest thread of the Store has finished |
//!
//! A wait parks only its guest thread, and the siblings keep running. `join` traps if the
//! thread cannot be joined, because it is the caller itself or was never spawned. For a
//! thread that has finished, it returns at once. In a plain call, `yield` and `sleep(0)` do
//! nothing, `join` traps, and `sleep` requires [`call_async`](wasmtime::Func::call_async),
//! like everything that waits there.
//!
//! In WebAssembly text:
//!
//! ```
//! # use wasmtime::preempt::*;
//! # use wasmtime::*;
//! # fn main() -> Result<()> {
//! # let mut config = Config::new();
//! # config.preemption(Preemption::Epoch);
//! # let engine = Engine::new(&config)?;
//! let mut linker = Linker::new(&engine);
//! wasmtime_preempt::imports::add_to_linker(&mut linker)?;
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "preempt" "yield" (func $yield))
//!         (import "preempt" "sleep" (func $sleep (param i64)))
//!         (import "preempt" "current" (func $current (result i64)))
//!         (import "preempt" "join" (func $join (param i64)))
//!         (func (export "run") (result i64)
//!             (call $yield)
//!             (call $sleep (i64.const 1_000_000))
//!             (call $current)))"#,
//! )?;
//! let mut store = Store::new(&engine, ());
//! let run = linker.instantiate(&mut store, &module)?;
//! let run = run.get_typed_func::<(), i64>(&mut store, "run")?;
//! let id = ThreadOptions::new().spawn_typed(&mut store, &run, ())?;
//! store.run_wasm_threads_for(std::time::Duration::MAX)?;
//! let exit = id.take_exit(&mut store);
//! assert!(matches!(exit, Some(TypedExit::Returned(1))));
//! # Ok(())
//! # }
//! ```
//!
//! In C:
//!
//! ```c
//! #include <stdint.h>
//!
//! #define PREEMPT(name) \
//!     __attribute__((import_module("preempt"), import_name(name)))
//!
//! PREEMPT("yield") void preempt_yield(void);
//! PREEMPT("sleep") void preempt_sleep(uint64_t nanoseconds);
//! PREEMPT("current") uint64_t preempt_current(void);
//! PREEMPT("join") void preempt_join(uint64_t thread);
//! ```

use std::time::Duration;
use wasmtime::{Caller, Linker, Result, ThreadId};

/// The module that the functions are imported from.
pub const MODULE: &str = "preempt";

/// Adds the functions to `linker`.
///
/// # Errors
///
/// If one of them is already defined.
pub fn add_to_linker<T: 'static>(linker: &mut Linker<T>) -> Result<()> {
    linker.func_wrap_concurrent(MODULE, "yield", |accessor, ()| {
        Box::pin(async move {
            if accessor.current_thread()?.is_some() {
                accessor.yield_now().await;
            }
            Ok(())
        })
    })?;
    linker.func_wrap_concurrent(MODULE, "sleep", |accessor, (nanoseconds,): (i64,)| {
        let time = Duration::from_nanos(nanoseconds.cast_unsigned());
        Box::pin(accessor.sleep(time))
    })?;
    linker.func_wrap(MODULE, "current", |mut caller: Caller<'_, T>| {
        let id = caller.wasm_threads().current().map_or(0, ThreadId::as_u64);
        id.cast_signed()
    })?;
    linker.func_wrap_concurrent(MODULE, "join", |accessor, (id,): (i64,)| {
        Box::pin(accessor.join(ThreadId::from_u64(id.cast_unsigned())))
    })?;
    Ok(())
}
