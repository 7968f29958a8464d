//! What the programs share that are measured beside each other: one with the patched Wasmtime,
//! one with the published one. Compiled into both. They answer lines; `beside_stock.rs` is
//! the other end of the pipe.

use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::io::{Write, stdin, stdout};
use std::time::Duration;
use wasmtime::{Config, Result, Store, bail};

/// What can interrupt the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing: no checks in compiled code.
    Baseline,
    Fuel,
    Epoch,
    Signal,
}

const MODES: [(Mode, &str); 4] = [
    (Mode::Baseline, "baseline"),
    (Mode::Fuel, "fuel"),
    (Mode::Epoch, "epoch"),
    (Mode::Signal, "signal"),
];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = MODES.iter().find(|(mode, _)| mode == self);
        f.pad(name.map_or("", |(_, name)| *name))
    }
}

impl std::str::FromStr for Mode {
    type Err = wasmtime::Error;

    fn from_str(text: &str) -> Result<Mode> {
        match MODES.iter().find(|(_, name)| *name == text) {
            Some((mode, _)) => Ok(*mode),
            None => bail!("there is no mode `{text}`"),
        }
    }
}

/// How this build of Wasmtime is told to interrupt guests.
#[derive(Clone, Copy)]
pub struct Build {
    pub configure: fn(Mode, &mut Config) -> Result<()>,
    /// Lets plain calls run for as long as they want.
    pub unlimited: fn(&mut Store<()>) -> Result<()>,
}

/// Answers lines of standard input until there are no more.
pub fn serve(mut answer: impl FnMut(&str) -> Result<String>) -> Result<()> {
    for line in stdin().lines() {
        let answer = answer(&line?)?;
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

/// The CPU time that the calling OS thread has used so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
