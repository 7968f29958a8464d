//! The cases of `unthreaded.rs`, with the published Wasmtime.

mod build;
#[path = "../../src/fibers.rs"]
mod fibers;
#[path = "../../src/served.rs"]
mod served;
#[path = "../../src/unthreaded.rs"]
mod unthreaded;

fn main() -> wasmtime::Result<()> {
    unthreaded::serve(&build::BUILD)
}
