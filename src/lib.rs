#![doc = include_str!("../README.md")]

/// Who runs next, and for how long: schedulers for
/// [`WasmThreads::set_scheduler`](wasmtime::preempt::WasmThreads::set_scheduler).
pub use preempt_policies as policies;
/// Stacks for as many guest threads as there is memory for.
#[cfg(unix)]
pub use preempt_stacks as stacks;
/// Pictures, statistics and proofs from a [`Trace`](wasmtime::preempt::Trace).
pub use preempt_trace as trace;
/// WASI in which a wait parks only the calling guest thread.
#[cfg(feature = "wasi")]
pub use preempt_wasi as wasi;
/// Guest programs with threads of their own, by the ABI of wasi-threads.
pub use preempt_wasi_threads as wasi_threads;
/// Wasmtime with preemptive guest threads: see
/// [`Store`](wasmtime::Store#preemptive-guest-threads).
pub use wasmtime;

pub mod imports;

/// Tests the code in `waiting.md`.
#[cfg(doctest)]
#[doc = include_str!("../docs/waiting.md")]
struct Waiting;

/// Tests the code in `rates.md`.
#[cfg(doctest)]
#[doc = include_str!("../docs/rates.md")]
struct Rates;

/// Tests the code in `scale.md`.
#[cfg(all(doctest, unix))]
#[doc = include_str!("../docs/scale.md")]
struct Scale;

/// Tests the code in `epochs.md`.
#[cfg(doctest)]
#[doc = include_str!("../docs/epochs.md")]
struct Epochs;

/// Tests the code in the fork's documentation.
#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/examples.md"))]
struct Fork;
