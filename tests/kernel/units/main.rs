//! The unit tests of overlay files, which are in these files, and of those whose tests would
//! not run beside a model checker.

#![allow(
    dead_code,
    unused_imports,
    reason = "these are parts of Wasmtime, and the prelude is the standard one"
)]

mod prelude;
mod runtime;

/// What `id.rs` needs of it.
mod store {
    #[derive(Clone, Copy)]
    pub struct StoreId;
}
