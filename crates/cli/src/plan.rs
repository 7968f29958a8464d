//! How to run the guests, by the command's options.

use crate::mode::Mode;
use std::time::Duration;
use wasmtime::Slice;

/// How to run the guests.
#[derive(Clone, Copy)]
pub struct Plan {
    pub mode: Mode,
    pub slice: Slice,
    /// The time of `--for`.
    pub time: Option<Duration>,
    /// The step of `--interleaving`, in ticks.
    pub step: Option<u64>,
    /// Whether compiled code counts fuel.
    pub counts_fuel: bool,
    /// Whether to show a live view, if there is a terminal.
    pub may_be_watched: bool,
}

impl Plan {
    /// Whether compiled code counts fuel although slices are not fuel.
    pub fn counts_fuel_for_limits(&self) -> bool {
        self.counts_fuel && self.mode != Mode::Fuel
    }
}
