//! A run against its own signal handler: the overlay's files, with a signal before each access
//! to what the two share.
//!
//! A handler is no OS thread: it runs as a whole, between two instructions of the code that it
//! interrupts. So `runtime/preempt/machine.rs` has a CPU that counts accesses, and a test tries
//! each of them as the moment at which time passes, or another OS thread ends the slice.
//!
//! `handler.rs` itself needs a kernel and compiled code: `machine.rs` says what stands in for
//! it.

#![allow(
    dead_code,
    unused_imports,
    reason = "a test uses a part of each file, and the prelude is the standard one"
)]

mod prelude;
mod runtime;
