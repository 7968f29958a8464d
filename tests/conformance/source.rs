//! How guests are interrupted, and how often.

use std::fmt;
use std::time::Duration;
use wasmtime::preempt::Slice;
use wasmtime::{Config, Preemption};

#[derive(Clone, Copy, PartialEq)]
#[allow(dead_code, reason = "not every host has signals")]
pub enum Source {
    /// Not at all: each call is a plain one, and there are no guest threads.
    PlainCalls,
    /// After so many units of fuel.
    Fuel(u64),
    Epochs,
    Signals,
    /// As by a signal that comes before each instruction: few calls take as long as a slice.
    Instructions,
}

/// The shortest under signals.
const SLICE: Slice = Slice::Time(Duration::from_micros(50));

/// Does not end.
const NO_SLICE: Slice = Slice::Time(Duration::from_secs(1_000));

impl Source {
    pub fn configure(self, config: &mut Config) {
        config.preemption(match self {
            Source::PlainCalls => return,
            Source::Fuel(_) => Preemption::Fuel,
            Source::Epochs => Preemption::Epoch,
            Source::Signals | Source::Instructions => Preemption::Signal,
        });
    }

    /// Whether processes with threads can run.
    pub fn has_processes(self) -> bool {
        !matches!(self, Source::PlainCalls | Source::Instructions)
    }

    /// Of all threads but the sibling. `None` without guest threads.
    pub fn slice(self) -> Option<Slice> {
        match self {
            Source::PlainCalls => None,
            Source::Fuel(units) => Some(Slice::Fuel(units)),
            Source::Epochs | Source::Signals => Some(SLICE),
            Source::Instructions => Some(NO_SLICE),
        }
    }

    pub fn slice_of_sibling(self) -> Option<Slice> {
        match self {
            Source::Instructions => Some(SLICE),
            _ => self.slice(),
        }
    }
}

/// As in `expected.txt`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::PlainCalls => f.pad("plain-calls"),
            Source::Fuel(units) => f.pad(&format!("fuel-{units}")),
            Source::Epochs => f.pad("epochs"),
            Source::Signals => f.pad("signals"),
            Source::Instructions => f.pad("instructions"),
        }
    }
}
