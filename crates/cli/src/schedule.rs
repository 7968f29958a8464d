//! The options that decide which guest comes next, and what the policy knows of each.

use crate::mode::{Amount, Mode};
use crate::names;
use crate::settings::{self, Setting};
use clap::{Args, ValueEnum};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use wasmtime::{Result, ThreadOptions, bail};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scheduling")]
pub struct ScheduleArgs {
    /// Which guest runs next
    ///
    /// The default is round-robin, or replay with --replay.
    #[arg(long, value_enum)]
    pub policy: Option<Name>,

    /// A guest's share of the CPU, relative to the others' (fair). The default is 1
    ///
    /// Without GUEST=, the value is for all guests, as with every option of this form. GUEST
    /// is a guest's name or number, as in the table. The option may be repeated; the last
    /// value given for a guest counts.
    #[arg(long, value_name = "[GUEST=]N", value_parser = weight, allow_hyphen_values = true)]
    pub weight: Vec<Setting<u32>>,

    /// The number of a guest's group, or 0 for none (fair). A group gets the share of a
    /// single guest of weight 1
    #[arg(long, value_name = "[GUEST=]N", value_parser = group, allow_hyphen_values = true)]
    pub group: Vec<Setting<u64>>,

    /// A guest's priority: guests with a higher one go first (priority). The default is 0
    #[arg(
        long,
        value_name = "[GUEST=]N",
        value_parser = priority,
        allow_negative_numbers = true
    )]
    pub priority: Vec<Setting<i32>>,

    /// Let guests that have waited longer than this run for a slice, whatever their priority
    /// (priority)
    ///
    /// A duration or units of fuel, as for --slice. By default, they wait until all guests of
    /// higher priority have finished.
    #[arg(long, value_name = "500ms|1000000", allow_hyphen_values = true)]
    pub patience: Option<String>,

    /// How soon after its start a guest should finish (deadline)
    ///
    /// A duration or units of fuel, as for --slice. Guests without a deadline run when all
    /// others have finished. A guest that misses its deadline is not stopped; to stop it, use
    /// --timeout.
    #[arg(long, value_name = "[GUEST=]500ms|1000000", value_parser = text, allow_hyphen_values = true)]
    pub deadline: Vec<Setting<String>>,

    /// The seed of the run: the same seed repeats it, with --preemption fuel
    ///
    /// Picks (random, pct) and guests' random numbers come from it. Guests' clocks start at
    /// 2000-01-01, advance by a nanosecond for each unit of fuel that all guests use, and
    /// skip ahead while all of them sleep. Components cannot sleep in such a run: that is an
    /// error of theirs. What comes from outside is not repeated: input without --stdin, changed
    /// files, the network, a reader who is 64 MiB of output behind, and what ends guests or the
    /// run by time. With slices of time, the seed repeats only the picks (random, pct), and not
    /// the run. The default for random and pct is a random seed, which is shown.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Search for a seed that makes something go wrong: run the guests with up to N seeds,
    /// counting up from --seed or 0, until a guest fails to return (random, pct)
    ///
    /// A guest fails to return if it traps, exits with a status other than 0, waits forever,
    /// exceeds a limit, or is stopped by --for. Only the last run is reported and written to
    /// files, and what its guests printed is shown only if it went wrong. To see that run
    /// again, give its seed as --seed and leave all other options unchanged. Needs
    /// --preemption fuel; a short --slice finds more. Guests that read input need --stdin,
    /// because the standard input of this process can be read only once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub search: Option<u64>,

    /// About how many slices the guests take in all; after that they take turns (pct). The
    /// default is 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,

    /// How many events must happen in a certain order for the bug to show (pct). The
    /// default is 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub depth: Option<u32>,

    /// Repeat the picks of the run that --record wrote to FILE
    ///
    /// With the same guests and input, --preemption fuel and the same --slice, this repeats
    /// the run. If that had a --seed, guests' random numbers and clocks are the same, too. If a guest behaves differently, the report says so, and the guests take turns
    /// from there on.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}

fn weight(text: &str) -> Result<Setting<u32>> {
    settings::parse(text, |value| match value.parse() {
        Ok(0) => bail!(
            "with a weight of 0 the guest would never run; give a number from 1 to {}",
            u32::MAX
        ),
        Ok(weight) => Ok(weight),
        Err(_) => bail!("a weight is a number from 1 to {}", u32::MAX),
    })
}

fn group(text: &str) -> Result<Setting<u64>> {
    settings::parse(text, |value| match value.parse() {
        Ok(group) => Ok(group),
        Err(_) => bail!("a group is a number from 0 (no group) to {}", u64::MAX),
    })
}

fn priority(text: &str) -> Result<Setting<i32>> {
    settings::parse(text, |value| match value.parse() {
        Ok(priority) => Ok(priority),
        Err(_) => bail!("a priority is a number from {} to {}", i32::MIN, i32::MAX),
    })
}

fn text(text: &str) -> Result<Setting<String>> {
    settings::parse(text, |value| Ok(value.to_string()))
}

/// The values of `--policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Guests take turns
    RoundRobin,
    /// Guests share the CPU by --weight and --group, to within about a slice
    Fair,
    /// The guest with the highest --priority; equals take turns
    Priority,
    /// The guest with the earliest --deadline
    Deadline,
    /// A random guest for a random part of a slice, from --seed: finds races
    Random,
    /// Probabilistic concurrency testing, from --seed, --steps and --depth: finds races of a
    /// given depth with a known probability
    Pct,
    /// The picks recorded in the file given by --replay
    Replay,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Name::RoundRobin => "round-robin",
            Name::Fair => "fair",
            Name::Priority => "priority",
            Name::Deadline => "deadline",
            Name::Random => "random",
            Name::Pct => "pct",
            Name::Replay => "replay",
        })
    }
}

const DEADLINE: Amount = Amount {
    option: "--deadline",
    what: "a deadline",
    zero: "passes before the guest starts",
};

const PATIENCE: Amount = Amount {
    option: "--patience",
    what: "the patience",
    zero: "would make priorities meaningless",
};

impl ScheduleArgs {
    /// # Errors
    ///
    /// If `--policy` and `--replay` contradict each other.
    pub fn name(&self) -> Result<Name> {
        match (self.policy, &self.replay) {
            (None, None) => Ok(Name::RoundRobin),
            (None | Some(Name::Replay), Some(_)) => Ok(Name::Replay),
            (Some(Name::Replay), None) => {
                bail!("--policy replay needs a file to replay: --replay FILE")
            }
            (Some(name), Some(file)) => bail!(
                "--replay {}: --policy {name} makes its own picks; give only one of the two",
                names::path(file)
            ),
            (Some(name), None) => Ok(name),
        }
    }

    /// Rejects options that the policy ignores, because giving them is a mistake.
    pub fn check(&self, name: Name, mode: Mode) -> Result<()> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        for (option, given, policies) in [
            ("--weight", first(&self.weight), &[Name::Fair][..]),
            ("--group", first(&self.group), &[Name::Fair]),
            ("--priority", first(&self.priority), &[Name::Priority]),
            ("--patience", self.patience.clone(), &[Name::Priority]),
            ("--deadline", first(&self.deadline), &[Name::Deadline]),
            ("--search", number(self.search), &[Name::Random, Name::Pct]),
            ("--steps", number(self.steps), &[Name::Pct]),
            ("--depth", number(self.depth.map(u64::from)), &[Name::Pct]),
        ] {
            let Some(given) = given else { continue };
            if !policies.contains(&name) {
                let policies: Vec<String> = policies
                    .iter()
                    .map(|policy| format!("--policy {policy}"))
                    .collect();
                bail!(
                    "{option} {given} has no effect with --policy {name}; it is for {}",
                    policies.join(" or ")
                );
            }
        }
        match (self.seed, name, mode) {
            (None, ..) | (_, Name::Random | Name::Pct, _) => Ok(()),
            (Some(seed), Name::Replay, _) => bail!(
                "--seed {seed} has no effect with --policy replay, which takes the seed from the \
                 recorded schedule"
            ),
            (Some(_), _, Mode::Fuel) => Ok(()),
            (Some(seed), ..) => bail!(
                "--seed {seed} has no effect with --policy {name} and --preemption {mode}; it is \
                 for --policy random or --policy pct, or any policy with --preemption fuel, where \
                 it repeats the run"
            ),
        }
    }

    /// The seeds for `--search`.
    ///
    /// # Errors
    ///
    /// If there are not that many seeds, or they would be useless.
    pub fn seeds(&self, mode: Mode) -> Result<Option<RangeInclusive<u64>>> {
        let Some(count) = self.search else {
            return Ok(None);
        };
        if mode != Mode::Fuel {
            bail!(
                "--search {count}: with --preemption {mode}, a seed does not repeat a run; \
                 use --preemption fuel"
            );
        }
        let first = self.seed.unwrap_or(0);
        match first.checked_add(count - 1) {
            Some(last) => Ok(Some(first..=last)),
            None => bail!(
                "--search {count}: there are fewer seeds than that from --seed {first} to {}",
                u64::MAX
            ),
        }
    }

    /// `--patience`, in ticks.
    pub fn patience(&self, mode: Mode) -> Result<Option<u64>> {
        let patience = self.patience.as_deref();
        patience
            .map(|text| mode.parse_ticks(&PATIENCE, text, text))
            .transpose()
    }

    /// What the policy is told about each guest.
    pub fn options(&self, guests: &[String], mode: Mode) -> Result<Vec<ThreadOptions>> {
        let weights = settings::for_each("--weight", &self.weight, guests)?;
        let groups = settings::for_each("--group", &self.group, guests)?;
        let priorities = settings::for_each("--priority", &self.priority, guests)?;
        let deadlines = self
            .deadline
            .iter()
            .map(|setting| {
                let (given, value) = (&setting.text, &setting.value);
                Ok(Setting {
                    guest: setting.guest.clone(),
                    value: mode.parse_ticks(&DEADLINE, given, value)?,
                    text: given.clone(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let deadlines = settings::for_each("--deadline", &deadlines, guests)?;
        let params = weights
            .into_iter()
            .zip(groups)
            .zip(priorities)
            .zip(deadlines);
        let params = params.map(|(((weight, group), priority), deadline)| {
            let options = ThreadOptions::new()
                .weight(weight.unwrap_or(1))
                .group(group.unwrap_or(0))
                .priority(priority.unwrap_or(0));
            match deadline {
                Some(ticks) => options.deadline(ticks),
                None => options,
            }
        });
        Ok(params.collect())
    }
}

fn first<V>(settings: &[Setting<V>]) -> Option<String> {
    settings.first().map(|setting| setting.text.clone())
}
