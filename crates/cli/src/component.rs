//! Components: which of their functions to run, with what arguments, and whether all that they
//! import is there.
//!
//! As for modules, this is found out from an outline, before anything is compiled.

mod arguments;
mod exports;
mod imports;
pub mod outline;
pub mod wave;

pub use arguments::arguments;
pub use exports::{Function, Functions};
pub use imports::check as check_imports;

use wasmtime::Engine;
use wasmtime::component::{Component, Val};

/// A function of a component, with its arguments.
pub struct ComponentCall {
    pub function: Function,
    pub args: Vec<Val>,
}

/// Whether it imports any interface of WASI.
pub fn uses_wasi(engine: &Engine, component: &Component) -> bool {
    let ty = component.component_type();
    ty.imports(engine)
        .any(|(name, _)| name.starts_with("wasi:"))
}
