//! Guests that `--preemption signal` cannot stop. The engine and the Store know which ones
//! they are, and refuse them; this adds what to do about it.

use crate::mode::Mode;
use wasmtime::{Config, Engine, Error, Module, Preemption};

const ADVICE: &str = "--preemption signal cannot run it; use --preemption epoch";

/// Explains the error with which `binary` did not compile.
pub fn by_engine(mode: Mode, binary: &[u8], error: Error) -> Error {
    error.context(
        match mode == Mode::Signal && is_valid_under_epochs(binary) {
            true => ADVICE,
            false => "it is not a valid WebAssembly module",
        },
    )
}

/// Adds advice to the error with which a guest could not be spawned.
pub fn by_store(error: Error) -> Error {
    // The Store's own advice is in terms of its API.
    let remedy = Preemption::Epoch.to_string();
    let mut causes = error.chain();
    match causes.any(|cause| cause.to_string().contains(&remedy)) {
        true => error.context(ADVICE),
        false => error,
    }
}

fn is_valid_under_epochs(binary: &[u8]) -> bool {
    let mut config = Config::new();
    config.preemption(Preemption::Epoch).shared_memory(true);
    Engine::new(&config).is_ok_and(|engine| Module::validate(&engine, binary).is_ok())
}
