//! What a guest may use before it is ended: the options, and how to report that a limit was
//! exceeded.

use crate::memory;
use crate::mode::units;
use crate::rates::{self, Rate};
use crate::settings::{self, Setting};
use crate::times::{self, milliseconds};
use clap::Args;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::time::Duration;
use wasmtime::preempt::{OverLimit, ThreadLimits};
use wasmtime::{DEFAULT_INSTANCE_LIMIT, Result, bail};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// End a guest when its threads have used this much CPU time in all, such as 50ms
    ///
    /// Without GUEST=, the value is for all guests, as with every option of this form. GUEST
    /// is a guest's name or number, as in the table. The option may be repeated; the last
    /// value given for a guest counts. Under --preemption fuel, this is checked at the end of
    /// each slice.
    #[arg(long, value_name = "[GUEST=]DURATION", value_parser = time, allow_hyphen_values = true)]
    pub cpu_limit: Vec<Setting<Duration>>,

    /// Let the threads of a guest use so much CPU time in each period, such as 20ms/100ms, or
    /// 20%, which means the same
    ///
    /// A guest that has used up its time is not ended, but waits until it refills, and the others
    /// run meanwhile. Under --preemption fuel, this is checked at the end of each slice. Where time
    /// is virtual, as in a run with a seed, a unit of fuel counts as a nanosecond of CPU time.
    #[arg(long, value_name = "[GUEST=]TIME/PERIOD", value_parser = rates::of_guest,
        allow_hyphen_values = true)]
    pub cpu_rate: Vec<Setting<Rate>>,

    /// End a guest when its threads have used this many units of fuel in all
    ///
    /// This makes compiled code count fuel under every --preemption.
    #[arg(long, value_name = "[GUEST=]UNITS", value_parser = fuel, allow_hyphen_values = true)]
    pub fuel_limit: Vec<Setting<u64>>,

    /// End a guest that has not finished after this time, whether it was running or waiting
    ///
    /// Start functions are included.
    #[arg(long, value_name = "[GUEST=]DURATION", value_parser = time, allow_hyphen_values = true)]
    pub timeout: Vec<Setting<Duration>>,

    /// How large the memories and tables of a guest may be in all, such as 512M. K, M and G
    /// stand for KiB, MiB and GiB. The default is 1G
    ///
    /// Beyond that, `memory.grow` and `table.grow` fail and return -1. A guest that needs more
    /// from the start is refused. A memory that the threads of a process share may be this
    /// large by itself. The garbage-collected heap, which all guests share, counts for the guest
    /// whose allocation makes it grow. Of streams, files and other resources of WASI, a
    /// component may have 65536 at a time, whatever the limit.
    #[arg(long, value_name = "[GUEST=]SIZE", value_parser = size, allow_hyphen_values = true)]
    pub memory_limit: Vec<Setting<u64>>,

    /// How many threads a guest may have at a time, including its first one. The default is
    /// 1000
    ///
    /// Beyond that, `wasi.thread-spawn` fails and returns -6. With 1, every guest has only its
    /// first thread.
    #[arg(long, value_name = "[GUEST=]N", value_parser = threads, allow_hyphen_values = true)]
    pub max_threads: Vec<Setting<usize>>,
}

/// The most threads that a guest may have at a time without `--max-threads`.
const DEFAULT_MAX_THREADS: usize = 1_000;

impl LimitArgs {
    /// The limits of each guest.
    pub fn of(&self, guests: &[String]) -> Result<Vec<GuestLimits>> {
        let cpu = settings::for_each("--cpu-limit", &self.cpu_limit, guests)?;
        let rate = settings::for_each("--cpu-rate", &self.cpu_rate, guests)?;
        let fuel = settings::for_each("--fuel-limit", &self.fuel_limit, guests)?;
        let wall = settings::for_each("--timeout", &self.timeout, guests)?;
        let memory = settings::for_each("--memory-limit", &self.memory_limit, guests)?;
        let threads = settings::for_each("--max-threads", &self.max_threads, guests)?;
        let times = cpu.into_iter().zip(rate).zip(fuel).zip(wall);
        let limits = times.zip(memory).zip(threads);
        let limits = limits.map(
            |(((((cpu, rate), fuel), wall), memory), threads)| GuestLimits {
                cpu,
                rate,
                fuel,
                wall,
                memory: memory.unwrap_or(memory::DEFAULT_LIMIT),
                threads: threads.unwrap_or(DEFAULT_MAX_THREADS),
            },
        );
        Ok(limits.collect())
    }
}

/// A CPU time limit that is never reached. Only of threads with a limit does a Store ask the
/// OS for the CPU time. For others it counts what the OS gave to other processes, too.
const UNLIMITED: Duration = Duration::MAX;

/// What one guest may use.
#[derive(Clone, Copy, Debug)]
pub struct GuestLimits {
    cpu: Option<Duration>,
    rate: Option<Rate>,
    fuel: Option<u64>,
    wall: Option<Duration>,
    /// In bytes.
    pub memory: u64,
    /// At a time.
    pub threads: usize,
}

impl GuestLimits {
    /// The limits for a guest with a single thread.
    pub fn of_thread(&self) -> ThreadLimits {
        self.with_wall(self.of_group().unwrap_or_default())
            .cpu_time(self.cpu.unwrap_or(UNLIMITED))
    }

    /// The limits for all threads of a guest together; `None` if there are none.
    pub fn of_group(&self) -> Option<ThreadLimits> {
        let mut limits = ThreadLimits::new();
        if let Some(time) = self.cpu {
            limits = limits.cpu_time(time);
        }
        if let Some(units) = self.fuel {
            limits = limits.fuel(units);
        }
        if let Some(Rate { quota, period }) = self.rate {
            limits = limits.cpu_rate(quota, period);
        }
        let any = self.cpu.is_some() || self.fuel.is_some() || self.rate.is_some();
        any.then_some(limits)
    }

    /// The limits for the first thread of a guest, whose end ends the others too.
    pub fn of_first(&self) -> ThreadLimits {
        self.with_wall(of_other())
    }

    fn with_wall(&self, limits: ThreadLimits) -> ThreadLimits {
        match self.wall {
            Some(time) => limits.wall_time(time),
            None => limits,
        }
    }
}

/// The limits for a thread that a guest has started.
pub fn of_other() -> ThreadLimits {
    ThreadLimits::new().cpu_time(UNLIMITED)
}

fn time(text: &str) -> Result<Setting<Duration>> {
    settings::parse(text, |value| {
        times::parse_or_say(
            value,
            "it would end the guest before it starts",
            "50ms or 2s",
        )
    })
}

fn fuel(text: &str) -> Result<Setting<u64>> {
    settings::parse(text, |value| match value.replace('_', "").parse() {
        Ok(0) => bail!(
            "it would end the guest before it starts; give a number of units above zero, \
             such as 100000"
        ),
        Ok(units) => Ok(units),
        Err(_) => bail!("give a number of units such as 100000"),
    })
}

fn size(text: &str) -> Result<Setting<u64>> {
    settings::parse(text, bytes)
}

/// Parses how much memory there may be, in bytes.
///
/// # Errors
///
/// If it is none, or not a size.
pub fn bytes(text: &str) -> Result<u64> {
    let config = parse_size::Config::new().with_binary();
    match config.parse_size(text) {
        Ok(0) => bail!("no guest could have any memory; give a size above zero, such as 512M"),
        Ok(size) => Ok(size),
        Err(_) => bail!("give a size such as 64K, 512M or 2G"),
    }
}

fn threads(text: &str) -> Result<Setting<usize>> {
    settings::parse(text, |value| match value.parse() {
        Ok(0) => bail!("the guest could not start; give a number of threads above zero"),
        Ok(threads) if threads <= DEFAULT_INSTANCE_LIMIT => Ok(threads),
        _ => bail!(
            "give a number of threads from 1 to {DEFAULT_INSTANCE_LIMIT}: each has an instance, \
             and a Store holds no more"
        ),
    })
}

/// The limit that a guest exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub OverLimit);

/// `its CPU limit of 50ms`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            OverLimit::CpuTime { limit, .. } => write!(f, "its CPU limit of {limit:?}"),
            OverLimit::Fuel { limit, .. } => write!(f, "its fuel limit of {}", units(limit)),
            OverLimit::WallTime { limit, .. } => write!(f, "its timeout of {limit:?}"),
            other => other.fmt(f),
        }
    }
}

impl Limit {
    /// `50.012ms used`
    pub fn used(&self) -> String {
        match self.0 {
            OverLimit::CpuTime { used, .. } => format!("{used:.3?} used"),
            OverLimit::Fuel { used, .. } => format!("{} used", units(used)),
            OverLimit::WallTime { used, .. } => format!("{used:.3?} passed"),
            other => other.to_string(),
        }
    }
}

/// The name of the option, and amounts in the same units as elsewhere.
impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Limit", 3)?;
        let (name, times) = match self.0 {
            OverLimit::CpuTime { limit, used, .. } => ("cpu_limit", Some((limit, used))),
            OverLimit::WallTime { limit, used } => ("timeout", Some((limit, used))),
            OverLimit::Fuel { .. } => ("fuel_limit", None),
            _ => ("unknown", None),
        };
        fields.serialize_field("name", name)?;
        if let Some((limit, used)) = times {
            fields.serialize_field("limit_ms", &milliseconds(limit))?;
            fields.serialize_field("used_ms", &milliseconds(used))?;
        }
        if let OverLimit::Fuel { limit, used, .. } = self.0 {
            fields.serialize_field("limit_fuel", &limit)?;
            fields.serialize_field("used_fuel", &used)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CPU: Limit = Limit(OverLimit::CpuTime {
        limit: Duration::from_millis(50),
        used: Duration::from_micros(50_012),
        group: false,
    });
    const FUEL: Limit = Limit(OverLimit::Fuel {
        limit: 1000,
        used: 1003,
        group: false,
    });
    const WALL: Limit = Limit(OverLimit::WallTime {
        limit: Duration::from_secs(2),
        used: Duration::from_millis(2001),
    });

    #[test]
    fn limits_are_told_as_they_were_given() {
        assert_eq!(CPU.to_string(), "its CPU limit of 50ms");
        assert_eq!(FUEL.to_string(), "its fuel limit of 1000 units");
        assert_eq!(WALL.to_string(), "its timeout of 2s");
        assert_eq!(CPU.used(), "50.012ms used");
        assert_eq!(FUEL.used(), "1003 units used");
        assert_eq!(WALL.used(), "2.001s passed");
    }

    #[test]
    fn json_names_the_limit_with_its_amounts() {
        let json = |limit| serde_json::to_value(limit).unwrap();
        let cpu = json!({ "name": "cpu_limit", "limit_ms": 50.0, "used_ms": 50.012 });
        assert_eq!(json(CPU), cpu);
        let fuel = json!({ "name": "fuel_limit", "limit_fuel": 1000, "used_fuel": 1003 });
        assert_eq!(json(FUEL), fuel);
        let wall = json!({ "name": "timeout", "limit_ms": 2000.0, "used_ms": 2001.0 });
        assert_eq!(json(WALL), wall);
    }
}
