//! Stands in for Wasmtime's prelude.

pub use anyhow::{Context, Result, bail, ensure};
