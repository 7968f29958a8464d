//! Gives the guests their threads, and starts the clocks.

use crate::console::{Console, Target};
use crate::interrupt::Interrupt;
use crate::limits::{self, GuestLimits};
use crate::load::Guest;
use crate::names;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::run::Run;
use crate::schedule::Name;
use crate::setup::Setup;
use crate::started::{Imports, Started};
use crate::wasi::{Chance, Contexts, HANDLES, Host, Taker};
use std::collections::BTreeSet;
use wasmtime::error::Context as _;
use wasmtime::{Result, Store};

/// Guests that passed all checks and have their threads, in the Store where they will run.
pub struct Prepared {
    store: Store<Host>,
    guests: Vec<Started>,
    plan: Plan,
    policy: Policy,
    /// Whether to make a schedule of the policy's picks.
    records: bool,
    /// Whether nobody has given one.
    seed_was_drawn: bool,
    /// Whether to print nothing about seeds.
    quiet: bool,
    limits: Vec<GuestLimits>,
    /// The indices of the guests that end the run.
    until: BTreeSet<usize>,
    console: Console,
    interrupt: Interrupt,
}

impl Prepared {
    /// Gives each guest a thread, and the thread its instance.
    /// None of them has run after it. `seed` replaces `--seed`.
    ///
    /// # Errors
    ///
    /// Bad usage, or a guest that cannot be run.
    pub fn of(setup: &Setup<'_>, seed: Option<u64>) -> Result<Prepared> {
        let (args, plan) = (setup.args, setup.plan);
        let console = match &setup.seeds {
            Some(_) => Console::holding(),
            None => Console::default(),
        };
        // stdout is reserved for the JSON object.
        let stdout = match args.outputs.json {
            true => Target::Stderr,
            false => Target::Stdout,
        };
        let takers = setup.guests.iter().map(|guest| Taker {
            argv: guest.argv.as_deref(),
            is_component: guest.is_component(),
        });
        let takers: Vec<Taker<'_>> = takers.collect();
        let mut policy = Policy::of(&args.schedule, &args.guests, plan.mode, plan.slice, seed)?;
        let chance = policy.repeats.map(Chance::of);
        if chance.is_some() {
            console.make_room_to_repeat(args.guests.len());
        }
        let labels = match args.outputs.label {
            true => names::labels(&args.guests),
            false => vec![String::new(); takers.len()],
        };
        let contexts = args.wasi.contexts(
            &args.guests,
            &takers,
            &console,
            stdout,
            chance.as_ref(),
            &labels,
        )?;
        let mut store = Store::new(&setup.engine, Host::default());
        store.limiter(|host| &mut host.memory);
        let imports = setup.guests.iter().zip(contexts);
        let imports = Imports::of(&mut store, imports, chance.is_some())?;
        let on_cpu = store.wasm_threads().thread_on_cpu()?;
        store.data_mut().components = Contexts::new(on_cpu);
        let components = setup.guests.iter().filter(|guest| guest.is_component());
        store.set_max_component_handles(components.count() * HANDLES);

        let mut threads = store.wasm_threads();
        threads.set_slice(plan.slice).with_context(|| {
            format!(
                "--slice {}",
                args.slice.slice.as_deref().unwrap_or_default()
            )
        })?;
        let most_threads = |(guest, limits): (&Guest, &GuestLimits)| match guest.is_process() {
            true => limits.threads,
            false => 1,
        };
        let guests = setup.guests.iter().zip(&setup.limits);
        threads.set_max_threads(guests.map(most_threads).sum())?;
        if let Some(events) = setup.trace_events {
            threads
                .set_trace(events)
                .with_context(|| format!("--trace-events {events}"))?;
        }
        if let Some(chance) = &chance {
            threads.set_virtual_clock(chance.clock.clone())?;
        }
        // Also while a guest starts, when nobody else can reach its memory.
        threads.set_own_all_memories(true)?;
        if plan.counts_fuel_for_limits() {
            store.set_fuel(u64::MAX)?;
        }
        let mut guests = Vec::new();
        let given = setup
            .guests
            .iter()
            .zip(imports)
            .zip(policy.guests.drain(..));
        for (index, ((guest, imports), options)) in given.enumerate() {
            let options = match setup.limits[index].of_group() {
                Some(_) if guest.is_process() => options.group(group(index)),
                _ => options,
            };
            let options = options.limits(limits::of_other());
            let limits = &setup.limits[index];
            guests.push(Started::start(&mut store, guest, imports, options, limits)?);
        }
        Ok(Prepared {
            store,
            guests,
            plan,
            policy,
            records: args.outputs.record.is_some(),
            seed_was_drawn: seed.is_none(),
            quiet: args.outputs.quiet,
            limits: setup.limits.clone(),
            until: args.until.guests(&args.guests)?,
            console,
            interrupt: setup.interrupt.clone(),
        })
    }

    /// Starts the clocks, and from now on handles Ctrl-C.
    ///
    /// # Errors
    ///
    /// If the OS cannot provide what this takes.
    pub fn start(mut self) -> Result<Run> {
        self.interrupt.listen()?;
        let guests = self.guests;
        let (policy, seed) = (self.policy.name, self.policy.seed);
        let repeats = self.policy.repeats;
        let note = note(policy, seed, repeats.is_some(), self.seed_was_drawn);
        if let Some(note) = note.filter(|_| !self.quiet) {
            self.console.print(Target::Stderr, note);
        }
        // Not earlier: clocks start when all guests are there.
        let ask = self.policy.install(&mut self.store, self.records)?;
        let mut handles = Vec::new();
        for (index, (guest, limits)) in guests.iter().zip(self.limits).enumerate() {
            let id = guest.thread;
            let limits = match (guest.is_process(), limits.of_group()) {
                (false, _) => limits.of_thread(),
                (true, None) => limits.of_first(),
                (true, Some(together)) => {
                    self.store
                        .wasm_threads()
                        .set_group_limits(group(index), together)?;
                    limits.of_first()
                }
            };
            id.set_limits(&mut self.store, limits)?;
            // The end of a process's first thread ends the whole process.
            handles.push(id.remote(&mut self.store)?);
        }
        if !self.until.is_empty() {
            let (chosen, others): (Vec<_>, Vec<_>) = handles
                .iter()
                .enumerate()
                .partition(|(index, _)| self.until.contains(index));
            let chosen = chosen.into_iter().map(|(_, thread)| thread.id());
            let others = others.into_iter().map(|(_, thread)| thread.clone());
            self.store
                .data()
                .until
                .set(chosen.collect(), others.collect());
        }
        self.interrupt.ends(handles);
        Ok(Run {
            store: self.store,
            guests,
            plan: self.plan,
            policy: policy.to_string(),
            seed,
            repeats,
            ask,
            console: self.console,
            interrupt: self.interrupt,
        })
    }
}

/// What to tell about the seed: one that was drawn, and one that does not do what one might
/// expect.
fn note(policy: Name, seed: Option<u64>, repeats: bool, was_drawn: bool) -> Option<String> {
    let seed = seed?;
    match (repeats, was_drawn) {
        (true, true) => Some(format!(
            "--policy {policy}: --seed {seed} repeats this run\n"
        )),
        (true, false) => None,
        (false, _) => Some(format!(
            "--policy {policy}: --seed {seed} repeats these picks, but not the run, because \
             slices are time; use --preemption fuel for runs that can be repeated\n"
        )),
    }
}

/// The group for the threads of guest `index`, distinct from those of `--group`.
fn group(index: usize) -> u64 {
    u64::MAX - index as u64
}
