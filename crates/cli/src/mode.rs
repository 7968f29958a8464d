//! `--preemption`, and the slices that it takes.

use clap::ValueEnum;
use std::fmt;
use std::time::Duration;
use wasmtime::{Preemption, Result, Slice, bail};

/// What ends a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A time, by a timer signal: compiled code runs at full speed. On x86-64
    /// Linux, without GC types, and without tables that can grow
    Signal,
    /// A time, by checks in compiled code
    Epoch,
    /// A number of units of fuel, about one for each instruction; the same
    /// schedule in every run
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
    /// The fastest that works on this machine.
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

    /// Parses what `--slice` was given. Whether it is within the bounds of this
    /// mode is for the Store to say.
    pub fn parse_slice(self, text: &str) -> Result<Slice> {
        let number = text.replace('_', "").parse::<u64>();
        let duration = humantime::parse_duration(text);
        match self {
            Mode::Signal | Mode::Epoch => match (duration, number) {
                (Ok(time), _) if !time.is_zero() => Ok(Slice::Time(time)),
                (_, Ok(1..)) => bail!(
                    "--slice {text} has no unit; with --preemption {self} a slice is a time \
                     such as 10ms (or count fuel: --preemption fuel)"
                ),
                (Ok(_), _) | (_, Ok(0)) => bail!(
                    "--slice {text} would let no guest run; give a time above zero, such as 10ms"
                ),
                (Err(_), Err(_)) => bail!(
                    "--slice {text} is not a time; with --preemption {self} \
                     give one such as 10ms or 500us"
                ),
            },
            Mode::Fuel => match (number, duration) {
                (Ok(fuel @ 1..), _) => Ok(Slice::Fuel(fuel)),
                (Ok(0), _) => bail!(
                    "--slice {text} would let no guest run; \
                     give a number of fuel units above zero, such as 100000"
                ),
                (Err(_), Ok(_)) => bail!(
                    "--slice {text} is a time; with --preemption fuel a slice is a number of \
                     fuel units such as 100000 (or count time: --preemption {})",
                    Mode::for_this_host()
                ),
                (Err(_), Err(_)) => bail!(
                    "--slice {text} is not a number of fuel units; with --preemption fuel \
                     give one from 1 to {}, such as 100000",
                    i64::MAX
                ),
            },
        }
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
