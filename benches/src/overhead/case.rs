//! What can be measured of a workload.

use crate::served::Mode;
use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    Paper,
    Broad,
}

/// Of Wasmtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    Stock,
    Ours,
}

/// How the workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    pub build: Build,
    /// How many calls or guest threads, each of an instance of its own.
    pub count: usize,
    /// The length of the guest threads' slices, in nanoseconds or in fuel. `None` for calls,
    /// one after the other.
    pub slice: Option<u64>,
    pub mode: Mode,
}

impl Case {
    pub const fn calls(build: Build, mode: Mode, count: usize) -> Case {
        Case {
            build,
            count,
            slice: None,
            mode,
        }
    }

    /// Guest threads, in slices of so many milliseconds or million units of fuel.
    pub const fn threads(mode: Mode, count: usize, slice: u64) -> Case {
        Case {
            slice: Some(slice * 1_000_000),
            ..Case::calls(Build::Ours, mode, count)
        }
    }

    /// How many guest threads there are.
    pub fn thread_count(&self) -> usize {
        self.slice.map_or(0, |_| self.count)
    }

    /// What it is compared with: as many calls of code without checks. Under signals they are
    /// calls of the very same instances.
    pub fn baseline(&self) -> Case {
        let mode = match (self.mode, self.slice) {
            (Mode::Signal, Some(_)) => Mode::Signal,
            _ => Mode::Baseline,
        };
        Case::calls(self.build, mode, self.count)
    }
}

/// What a row says of a workload beyond its CPU time and the ratio of that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overhead {
    /// The workload's name.
    pub workload: String,
    pub set: Set,
    #[serde(flatten)]
    pub case: Case,
    /// The ratio of elapsed time.
    pub wall_ratio: f64,
    pub samples: usize,
    /// Per second of CPU time.
    pub preemptions: f64,
    /// What one call consumes that does the work once.
    pub fuel: Option<u64>,
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> Deserialize<'a> for Mode {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Mode, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
