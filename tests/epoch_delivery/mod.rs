//! Epoch deadlines that are delivered by signals: `EpochDelivery::Signal`.

mod callbacks;
mod code;
mod components;
mod config;
mod deadlines;
mod dropped_futures;
mod equal_results;
mod forks;
mod host_calls;
mod increments;
mod nested;
mod sealed;
mod support;
mod yields;
