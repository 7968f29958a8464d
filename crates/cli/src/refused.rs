//! Guests that `--preemption signal` cannot stop. The Store knows which ones they are, and refuses
//! them; this adds what to do about it.

use wasmtime::{Error, Preemption};

const ADVICE: &str = "--preemption signal cannot run it; use --preemption epoch";

/// Explains the error with which a module did not compile.
pub fn by_engine(error: Error) -> Error {
    error.context("it is not a valid WebAssembly module")
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
