#![doc = include_str!("../README.md")]

/// Wasmtime with preemptive guest threads: see
/// [`Store`](wasmtime::Store#preemptive-guest-threads).
pub use wasmtime;
