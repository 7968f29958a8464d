//! Reads the command's inputs, and finds out what is wrong with them.

use crate::args::RunArgs;
use crate::arguments;
use crate::codegen;
use crate::guest::GuestSpec;
use crate::interrupt::Interrupt;
use crate::limits::GuestLimits;
use crate::load::{Guest, Loader};
use crate::mode::Mode;
use crate::names;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::schedule::{Name, ScheduleArgs};
use crate::sources::Sources;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use wasmtime::{DEFAULT_INSTANCE_LIMIT, Engine, Result, bail};

/// What all runs share.
pub struct Setup<'a> {
    pub args: &'a RunArgs,
    pub engine: Engine,
    pub guests: Vec<Guest>,
    /// What each guest may use.
    pub limits: Vec<GuestLimits>,
    pub plan: Plan,
    /// How many events the trace has room for; `None` for no trace.
    pub trace_events: Option<usize>,
    /// The seeds with which `--search` runs the guests.
    pub seeds: Option<RangeInclusive<u64>>,
    pub interrupt: Interrupt,
}

impl<'a> Setup<'a> {
    /// # Errors
    ///
    /// Bad usage, or a guest that cannot be run.
    pub fn of(args: &'a RunArgs) -> Result<Setup<'a>> {
        if args.guests.len() > DEFAULT_INSTANCE_LIMIT {
            bail!(
                "{} guests are too many: a Store holds {DEFAULT_INSTANCE_LIMIT} instances at most",
                args.guests.len()
            );
        }
        let mode = args.slice.preemption;
        let slice = args.slice.slice()?;
        // Only to find out what is wrong with it.
        let policy = Policy::of(&args.schedule, &args.guests, mode, slice, None)?;
        let seeds = args.schedule.seeds(mode)?;
        let limits = args.limits.of(&args.guests)?;
        args.until.guests(&args.guests)?;
        let trace_events = args.outputs.trace_events()?;
        let plan = Plan {
            mode,
            slice,
            time: args.time,
            step: args.outputs.step(mode)?,
            counts_fuel: mode == Mode::Fuel || !args.limits.fuel_limit.is_empty(),
            may_be_watched: !args.outputs.json && !args.outputs.quiet && seeds.is_none(),
        };
        let engine = codegen::engine(mode, plan.counts_fuel, args.codegen.cache()?, None)?;
        let mut loader = {
            let precompiled = args.codegen.allow_precompiled;
            Loader::new(&engine, Sources::new(&engine, plan, precompiled))
        };
        let explain = |index: usize, error| match index {
            0 => error,
            _ => arguments::was_a_guest(&args.guests[0], &args.guests[index], error),
        };
        let checked = args.guests.iter().zip(&limits).enumerate();
        let checked = checked.map(|(index, (text, limits))| {
            let mut spec = GuestSpec::parse(text, |path| Path::new(path).exists())?;
            if !args.args.is_empty() {
                spec.args = Some(args.args.clone());
            }
            let checked = loader.check(spec, limits.memory);
            checked.map_err(|error| explain(index, error))
        });
        let checked = checked.collect::<Result<Vec<_>>>()?;
        let guests = checked.into_iter().map(|guest| loader.compile(guest));
        let guests = guests.collect::<Result<Vec<Guest>>>()?;
        if policy.name == Name::Fair {
            check_groups(&args.schedule, &guests, &limits)?;
        }
        Ok(Setup {
            args,
            engine,
            guests,
            limits,
            plan,
            trace_events,
            seeds,
            interrupt: Interrupt::default(),
        })
    }

    /// The files to be read.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let guests = self.guests.iter().map(|guest| guest.spec.file.clone());
        let replay = self.args.schedule.replay.clone();
        let stdin = self.args.wasi.stdin_files(&self.args.guests);
        guests.chain(replay).chain(stdin).collect()
    }
}

/// Limits on all threads of a guest make the threads a group, and groups are what
/// `--policy fair` shares the CPU by.
fn check_groups(given: &ScheduleArgs, guests: &[Guest], limits: &[GuestLimits]) -> Result<()> {
    for (guest, limits) in guests.iter().zip(limits) {
        let option = given.weight.first().map(|_| "--weight");
        let option = option.or(given.group.first().map(|_| "--group"));
        if let (true, Some(_), Some(option)) = (guest.is_process(), limits.of_group(), option) {
            bail!(
                "{option}: guest `{}` has threads of its own, which --cpu-limit, --cpu-rate or \
                 --fuel-limit makes a group of their own under --policy fair; give only one \
                 of the two",
                names::name(&guest.spec.text)
            );
        }
    }
    Ok(())
}
