//! Epoch deadlines that are delivered by signals: `EpochDelivery::Signal`.

mod callbacks;
mod code;
mod components;
mod config;
mod deadlines;
mod differential;
mod dropped_futures;
mod equal_results;
#[cfg(debug_assertions)]
mod every_instruction;
mod forks;
mod host_calls;
mod increments;
mod membarrier;
mod nested;
mod sealed;
mod soak;
mod support;
mod yields;
