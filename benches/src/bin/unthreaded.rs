//! The cases of `unthreaded.rs`, with the patched Wasmtime. Like its published counterpart, this
//! program is compiled by itself, so that both are inlined alike.

#[path = "../fibers.rs"]
mod fibers;
#[path = "../served.rs"]
mod served;
#[path = "../unthreaded.rs"]
mod unthreaded;

use served::{Build, Mode};
use wasmtime::{Preemption, bail};

fn main() -> wasmtime::Result<()> {
    unthreaded::serve(&Build {
        configure: |mode, config| {
            match mode {
                Mode::Baseline => {}
                Mode::Fuel => {
                    config.preemption(Preemption::Fuel);
                }
                Mode::Epoch => {
                    config.preemption(Preemption::Epoch);
                }
                Mode::Signal => bail!("the published Wasmtime has no preemption by signals"),
            }
            Ok(())
        },
        // A store starts like that.
        unlimited: |_| Ok(()),
    })
}
