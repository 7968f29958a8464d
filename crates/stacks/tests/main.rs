//! A slab by itself, without an engine: as Wasmtime uses it.

mod support;

mod limits;
mod memory;
mod recycling;
mod stacks;
