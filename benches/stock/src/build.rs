//! How the published Wasmtime is told to interrupt guests.

use crate::served::{Build, Mode};
use wasmtime::bail;

pub const BUILD: Build = Build {
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
};
