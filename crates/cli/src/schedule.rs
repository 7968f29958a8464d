//! The options that say which guest comes next, and what is told of each guest.

use crate::args::RunArgs;
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
    /// Which guest comes next
    ///
    /// The default is round-robin, or replay with --replay.
    #[arg(long, value_enum)]
    pub policy: Option<Name>,

    /// A guest's share of the CPU, relative to others': 1 without it (fair)
    ///
    /// Without GUEST=, that of each one, as with all options of this form: GUEST
    /// is a guest's name or its number, as in the table, the option may be
    /// repeated, and the last one that is for a guest holds.
    #[arg(long, value_name = "[GUEST=]N", value_parser = weight)]
    pub weight: Vec<Setting<u32>>,

    /// The group that a guest is of, a number: each group competes for the CPU as
    /// one guest of weight 1 does. 0 for none (fair)
    #[arg(long, value_name = "[GUEST=]N", value_parser = group)]
    pub group: Vec<Setting<u64>>,

    /// Those of a higher priority go first: 0 without it (priority)
    #[arg(
        long,
        value_name = "[GUEST=]N",
        value_parser = priority,
        allow_negative_numbers = true
    )]
    pub priority: Vec<Setting<i32>>,

    /// Guests that have waited for longer than this get a slice, whatever their
    /// priority (priority)
    ///
    /// As --slice, a duration or a number of fuel units. Without it they wait
    /// until those of higher priorities have finished.
    #[arg(long, value_name = "500ms|1000000")]
    pub patience: Option<String>,

    /// How soon after its start a guest should be done (deadline)
    ///
    /// As --slice, a duration or a number of fuel units. Guests without one run
    /// when all others have finished. One that is late goes on; --timeout ends it.
    #[arg(long, value_name = "[GUEST=]500ms|1000000", value_parser = text)]
    pub deadline: Vec<Setting<String>>,

    /// What chance makes of it: the same seed, the same picks (random, pct)
    ///
    /// Without it one is drawn, and shown, so that the run can be repeated.
    /// --search finds one.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Look for the seed with which something goes wrong: try N of them, from
    /// --seed on or from 0, until with one a guest does not return (random, pct)
    ///
    /// But traps, say, or exits with another status than 0, waits for ever, or
    /// is stopped by --for. Each seed is a run of its own, from the beginning; only
    /// the last one is reported and written to files, and only if it went wrong is
    /// what guests have printed shown. With its seed as --seed, and the same other
    /// options, it is there again: that takes --preemption fuel. A short --slice is
    /// the more likely to find something. Guests that read should be given a
    /// --stdin: that of this process can be read once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub search: Option<u64>,

    /// How many slices the guests take together, about: then they go on in turns
    /// (pct). 1000 without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,

    /// How many events must come in one order for the bug that is looked for
    /// (pct). 3 without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub depth: Option<u32>,

    /// Make the picks again that --record has written to FILE
    ///
    /// With the same guests, --preemption fuel and the same --slice that is the
    /// same run. Where a guest does something else it is said, and from there on
    /// they take turns.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}

fn weight(text: &str) -> Result<Setting<u32>> {
    settings::parse(text, |value| match value.parse() {
        Ok(0) => bail!("a weight of 0 would keep the guest from running; give one from 1"),
        Ok(weight) => Ok(weight),
        Err(_) => bail!("a weight is a number from 1 to {}", u32::MAX),
    })
}

fn group(text: &str) -> Result<Setting<u64>> {
    settings::parse(text, |value| match value.parse() {
        Ok(group) => Ok(group),
        Err(_) => bail!("a group is a number from 0, which is none, to {}", u64::MAX),
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

/// What `--policy` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Each in turn
    RoundRobin,
    /// Shares by --weight and --group, within about a slice
    Fair,
    /// The highest --priority; equals in turn
    Priority,
    /// The earliest --deadline
    Deadline,
    /// Any, for a random part of a slice, by --seed: finds races
    Random,
    /// Probabilistic concurrency testing, by --seed, --steps and --depth: finds
    /// races of some depth with a known probability
    Pct,
    /// What --replay says
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
    zero: "is over before the guest starts",
};

const PATIENCE: Amount = Amount {
    option: "--patience",
    what: "a patience",
    zero: "would leave no meaning to priorities",
};

impl ScheduleArgs {
    /// # Errors
    ///
    /// If `--policy` and `--replay` do not go together.
    pub fn name(&self) -> Result<Name> {
        match (self.policy, &self.replay) {
            (None, None) => Ok(Name::RoundRobin),
            (None | Some(Name::Replay), Some(_)) => Ok(Name::Replay),
            (Some(Name::Replay), None) => {
                bail!("--policy replay needs what to replay: --replay FILE")
            }
            (Some(name), Some(file)) => bail!(
                "--replay {}: --policy {name} makes its own picks; leave one of the two away",
                names::path(file)
            ),
            (Some(name), None) => Ok(name),
        }
    }

    /// Options that the policy does not look at are a mistake.
    pub fn check(&self, name: Name) -> Result<()> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        for (option, given, policies) in [
            ("--weight", first(&self.weight), &[Name::Fair][..]),
            ("--group", first(&self.group), &[Name::Fair]),
            ("--priority", first(&self.priority), &[Name::Priority]),
            ("--patience", self.patience.clone(), &[Name::Priority]),
            ("--deadline", first(&self.deadline), &[Name::Deadline]),
            ("--seed", number(self.seed), &[Name::Random, Name::Pct]),
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
                    "{option} {given}: --policy {name} does not look at it; {} does",
                    policies.join(" or ")
                );
            }
        }
        Ok(())
    }

    /// The seeds of `--search`.
    ///
    /// # Errors
    ///
    /// If there are not so many, or they would not be of use.
    pub fn seeds(&self, mode: Mode) -> Result<Option<RangeInclusive<u64>>> {
        let Some(count) = self.search else {
            return Ok(None);
        };
        if mode != Mode::Fuel {
            bail!(
                "--search {count}: under --preemption {mode} a seed is another run each time; \
                 use --preemption fuel"
            );
        }
        let first = self.seed.unwrap_or(0);
        match first.checked_add(count - 1) {
            Some(last) => Ok(Some(first..=last)),
            None => bail!("--search {count}: from --seed {first} on there are not so many"),
        }
    }

    /// `--patience`, in ticks.
    pub fn patience(&self, mode: Mode) -> Result<Option<u64>> {
        let patience = self.patience.as_deref();
        patience
            .map(|text| mode.parse_ticks(&PATIENCE, text, text))
            .transpose()
    }

    /// What the policy is told of each guest.
    pub fn options(&self, args: &RunArgs) -> Result<Vec<ThreadOptions>> {
        let guests = &args.guests;
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
                    value: args.preemption.parse_ticks(&DEADLINE, given, value)?,
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
