//! Model-checked handshakes between OS threads: the overlay's own files, compiled with the
//! types of loom, which runs a test in every order that the memory model allows.
//!
//! `runtime/preempt.rs` says which files these are, and what stands in for the rest of
//! Wasmtime. A model that gets stuck, as after a lost wake-up, fails as a deadlock.

#![allow(
    dead_code,
    unused_imports,
    reason = "a model uses a part of each file, and the prelude is the standard one"
)]

mod prelude;
mod runtime;

/// What `id.rs` needs of it.
mod store {
    #[derive(Clone, Copy)]
    pub struct StoreId;
}
