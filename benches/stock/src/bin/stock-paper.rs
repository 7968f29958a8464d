//! The workloads of `cargo xtask paper`, with the published Wasmtime.

#[path = "../../../src/paper/layout.rs"]
mod layout;
#[path = "../../../src/paper/server.rs"]
mod server;
#[path = "../../../src/workloads.rs"]
mod workloads;

use server::{Build, Mode, serve};
use wasmtime::bail;

fn main() -> wasmtime::Result<()> {
    let Some(layout) = std::env::args().nth(1).and_then(|arg| arg.parse().ok()) else {
        bail!("the only argument is the number of a layout");
    };
    serve(&Build {
        layout,
        configure: |mode, config| {
            match mode {
                Mode::Baseline => {}
                Mode::Fuel => {
                    config.consume_fuel(true);
                }
                Mode::Epoch => {
                    config.epoch_interruption(true);
                }
                Mode::Signal => bail!("the published Wasmtime has no preemption by signals"),
            }
            Ok(())
        },
        unlimited: |store| {
            // Whichever of the two the engine has.
            if store.get_fuel().is_ok() {
                store.set_fuel(u64::MAX)?;
            }
            store.set_epoch_deadline(u64::MAX / 2);
            Ok(())
        },
        threads: |_, _, _, _| bail!("the published Wasmtime has no guest threads"),
    })
}
