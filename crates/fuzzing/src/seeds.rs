//! The seeds of all targets that have some: inputs that somebody wrote.

use crate::{api, components};
use wasmtime::preempt::Preemption;

/// An input to begin with.
pub struct Seed {
    pub target: &'static str,
    /// What it does, and under which source: the name of its file.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The same on each host.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (source, of) in [
        (Preemption::Fuel, "fuel"),
        (Preemption::Epoch, "epoch"),
        (Preemption::Signal, "signal"),
    ] {
        let mut add = |target, name, bytes| {
            let name = format!("{name}-{of}");
            seeds.push(Seed {
                target,
                name,
                bytes,
            });
        };
        for (name, sequence) in api::seeds::ALL {
            add("api", name, api::seeds::write(source, &sequence(source)));
        }
        for (name, sequence) in components::seeds::ALL {
            let bytes = components::seeds::write(source, &sequence());
            add("components", name, bytes);
        }
    }
    seeds
}
