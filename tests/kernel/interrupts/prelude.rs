//! Stands in for Wasmtime's prelude.

pub use anyhow::Result;
