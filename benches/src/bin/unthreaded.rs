//! The cases of `unthreaded.rs`, with the patched Wasmtime.

#[path = "../unthreaded.rs"]
mod unthreaded;

use unthreaded::{Build, serve};
use wasmtime::Preemption;

fn main() -> wasmtime::Result<()> {
    serve(&Build {
        fuel: |config| {
            config.preemption(Preemption::Fuel);
        },
        epoch: |config| {
            config.preemption(Preemption::Epoch);
        },
        // A store starts like that.
        unlimited: |_| Ok(()),
    })
}
