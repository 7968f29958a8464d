//! `--preemption` and `--slice`.

use crate::times::{self, Wrong};
use clap::{Args, ValueEnum};
use std::fmt;
use std::time::Duration;
use wasmtime::{Preemption, Result, Slice, bail};

#[derive(Args, Clone, Debug)]
pub struct SliceArgs {
    /// What ends a slice: a timer (signal, epoch) or a count of executed instructions (fuel)
    ///
    /// The default is signal where it works and epoch elsewhere.
    #[arg(long, value_enum, default_value_t = Mode::for_this_host())]
    pub preemption: Mode,

    /// How long a guest may run before it is another one's turn: a duration such as 10ms
    /// (signal, from 50us up; epoch), or units of fuel such as 100000 (fuel)
    ///
    /// The default is 10ms or 10000000 units.
    #[arg(long, value_name = "10ms|100000", allow_hyphen_values = true)]
    pub slice: Option<String>,
}

impl SliceArgs {
    /// The slice of each guest.
    pub fn slice(&self) -> Result<Slice> {
        match &self.slice {
            Some(text) => self.preemption.parse_slice(text),
            None => Ok(self.preemption.default_slice()),
        }
    }
}

/// What ends a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A timer signal: compiled code runs at full speed. Only on x86-64 and aarch64 Linux, and
    /// only for guests that can be stopped at any instruction
    Signal,
    /// A timer that compiled code checks
    Epoch,
    /// Fuel that compiled code counts, about one unit per instruction: every run has the
    /// same schedule
    Fuel,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Signal => "signal",
            Mode::Epoch => "epoch",
            Mode::Fuel => "fuel",
        })
    }
}

impl From<Mode> for Preemption {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Signal => Preemption::Signal,
            Mode::Epoch => Preemption::Epoch,
            Mode::Fuel => Preemption::Fuel,
        }
    }
}

impl Mode {
    /// The fastest mode that works on this machine.
    pub fn for_this_host() -> Self {
        match Preemption::for_this_host() {
            Preemption::Signal => Mode::Signal,
            _ => Mode::Epoch,
        }
    }

    /// The slice without `--slice`.
    pub fn default_slice(self) -> Slice {
        match self {
            Mode::Signal | Mode::Epoch => Slice::Time(Duration::from_millis(10)),
            Mode::Fuel => Slice::Fuel(10_000_000),
        }
    }

    /// Parses the value of `--slice`. The Store checks whether it is within this mode's
    /// bounds.
    pub fn parse_slice(self, text: &str) -> Result<Slice> {
        self.parse(&SLICE, text, text)
    }

    /// Parses `text`, which is part of the option's value `given`, as ticks.
    pub fn parse_ticks(self, amount: &Amount, given: &str, text: &str) -> Result<u64> {
        self.parse(amount, given, text).map(ticks)
    }

    fn parse(self, amount: &Amount, given: &str, text: &str) -> Result<Slice> {
        let Amount { option, what, zero } = amount;
        let number = text.replace('_', "").parse::<u64>();
        let duration = times::parse(text);
        match self {
            Mode::Signal | Mode::Epoch => match (duration, number) {
                (Ok(time), _) => Ok(Slice::Time(time)),
                (_, Ok(1..)) => bail!(
                    "{option} {given} has no unit; with --preemption {self}, {what} is a time \
                     such as 10ms (for units of fuel, use --preemption fuel)"
                ),
                (Err(Wrong::Zero), _) | (_, Ok(0)) => {
                    bail!("{option} {given} {zero}; give a time above zero, such as 10ms")
                }
                (Err(Wrong::NoTime(_)), Err(_)) => bail!(
                    "{option} {given} is not a time; with --preemption {self}, \
                     give one such as 10ms or 500us"
                ),
            },
            Mode::Fuel => match (number, duration) {
                (Ok(fuel @ 1..), _) => Ok(Slice::Fuel(fuel)),
                (Ok(0), _) => {
                    bail!("{option} {given} {zero}; give units of fuel above zero, such as 100000")
                }
                (Err(_), Ok(_) | Err(Wrong::Zero)) => bail!(
                    "{option} {given} is a time; with --preemption fuel, {what} is a number of \
                     units of fuel such as 100000 (for a time, use --preemption {})",
                    Mode::for_this_host()
                ),
                (Err(_), Err(Wrong::NoTime(_))) => bail!(
                    "{option} {given} is not a number of units of fuel; with --preemption fuel, \
                     give one from 1 to {}, such as 100000",
                    i64::MAX
                ),
            },
        }
    }
}

/// An option that takes a time or a number of units, depending on the mode.
pub struct Amount {
    pub option: &'static str,
    pub what: &'static str,
    /// What a value of zero would do.
    pub zero: &'static str,
}

const SLICE: Amount = Amount {
    option: "--slice",
    what: "a slice",
    zero: "would let no guest run",
};

/// A slice, for human readers.
pub fn show(slice: Slice) -> String {
    match slice {
        Slice::Fuel(fuel) => format!("{} of fuel", units(fuel)),
        other => other.to_string(),
    }
}

/// `1 unit`, `2 units`
pub fn units(count: u64) -> String {
    match count {
        1 => "1 unit".to_string(),
        _ => format!("{count} units"),
    }
}

/// A slice in the unit that schedulers count in.
pub fn ticks(slice: Slice) -> u64 {
    match slice {
        Slice::Time(time) => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        Slice::Fuel(units) => units,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_takes_the_unit_of_its_mode() {
        let slice = |mode: Mode, text| mode.parse_slice(text).unwrap();
        let ms = Duration::from_millis;
        for mode in [Mode::Signal, Mode::Epoch] {
            assert_eq!(slice(mode, "10ms"), Slice::Time(ms(10)));
            assert_eq!(slice(mode, "1s 5ms"), Slice::Time(ms(1005)));
        }
        assert_eq!(slice(Mode::Fuel, "100000"), Slice::Fuel(100_000));
        assert_eq!(slice(Mode::Fuel, "100_000"), Slice::Fuel(100_000));
    }

    #[test]
    fn slices_are_shown_with_their_unit() {
        assert_eq!(show(Slice::Fuel(1)), "1 unit of fuel");
        assert_eq!(show(Slice::Fuel(2)), "2 units of fuel");
        assert_eq!(show(Slice::Time(Duration::from_millis(10))), "10ms");
    }

    #[test]
    fn bad_slice_names_the_value_and_what_works() {
        let check = |mode: Mode, text: &str, what: &str, works: &str| {
            let error = mode.parse_slice(text).unwrap_err().to_string();
            for part in [&format!("--slice {text}"), what, works] {
                assert!(error.contains(part), "{mode} {text}: {error}");
            }
        };
        for mode in [Mode::Signal, Mode::Epoch] {
            check(mode, "0", "no guest", "10ms");
            check(mode, "0ms", "no guest", "10ms");
            check(mode, "100000", "no unit", &format!("--preemption {mode}"));
            check(mode, "soon", "not a time", "10ms");
            check(mode, "", "not a time", "10ms");
            check(mode, "-5ms", "not a time", "10ms");
        }
        for (text, what) in [
            ("0", "no guest"),
            ("10ms", "is a time"),
            ("-1", "not a number"),
            ("18446744073709551616", "not a number"),
        ] {
            check(Mode::Fuel, text, what, "100000");
        }
    }
}
