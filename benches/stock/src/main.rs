//! The cases of `unthreaded.rs`, with the published Wasmtime.

#[path = "../../src/unthreaded.rs"]
mod unthreaded;

use unthreaded::{Build, serve};

fn main() -> wasmtime::Result<()> {
    serve(&Build {
        fuel: |config| {
            config.consume_fuel(true);
        },
        epoch: |config| {
            config.epoch_interruption(true);
        },
        unlimited: |store| {
            // Whichever of the two the engine has.
            if store.get_fuel().is_ok() {
                store.set_fuel(u64::MAX)?;
            }
            store.set_epoch_deadline(u64::MAX / 2);
            Ok(())
        },
    })
}
