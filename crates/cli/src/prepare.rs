//! Finds everything that can be wrong before a guest runs, and then starts the guests.

use crate::args::RunArgs;
use crate::console::{Console, Target};
use crate::guest::GuestSpec;
use crate::interrupt::Interrupt;
use crate::limits::GuestLimits;
use crate::load::{self, Guest, Loader};
use crate::mode::Mode;
use crate::names;
use crate::policy::Policy;
use crate::run::Run;
use crate::schedule::Name;
use crate::started::Started;
use crate::wasi::{self, Host};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::preempt::ThreadLimits;
use wasmtime::{
    Config, DEFAULT_INSTANCE_LIMIT, Engine, ExternType, Linker, Result, SharedMemory, Slice, Store,
    bail,
};
use wasmtime_preempt::imports;

/// The most threads a guest may have at a time.
const MOST_THREADS: usize = 1_000;

/// What all runs share.
pub struct Setup<'a> {
    args: &'a RunArgs,
    engine: Engine,
    guests: Vec<Guest>,
    slice: Slice,
    limits: Vec<GuestLimits>,
    trace_events: Option<usize>,
    step: Option<u64>,
    count_fuel: bool,
    /// The seeds with which `--search` runs the guests.
    pub seeds: Option<RangeInclusive<u64>>,
    pub interrupt: Interrupt,
}

/// Guests that passed all checks and have their threads, in the Store where they will run.
pub struct Prepared<'a> {
    args: &'a RunArgs,
    store: Store<Host>,
    guests: Vec<Started>,
    slice: Slice,
    policy: Policy,
    limits: Vec<GuestLimits>,
    step: Option<u64>,
    pub console: Console,
    interrupt: Interrupt,
}

/// Reads the command's inputs.
///
/// # Errors
///
/// Bad usage, or a guest that cannot be run.
pub fn set_up(args: &RunArgs) -> Result<Setup<'_>> {
    let mut config = Config::new();
    config
        .preemption(args.preemption.into())
        .shared_memory(true);
    if args.guests.len() > DEFAULT_INSTANCE_LIMIT {
        bail!(
            "{} guests are too many: a Store holds {DEFAULT_INSTANCE_LIMIT} instances at most",
            args.guests.len()
        );
    }
    let slice = match &args.slice {
        Some(text) => args.preemption.parse_slice(text)?,
        None => args.preemption.default_slice(),
    };
    // Only to find out what is wrong with it.
    let policy = Policy::of(args, slice, args.schedule.seed)?;
    let seeds = args.schedule.seeds(args.preemption)?;
    let limits = args.limits.of(&args.guests)?;
    let trace_events = args.outputs.trace_events()?;
    let step = args.outputs.step(args.preemption)?;
    let count_fuel = args.limits.need_fuel(args.preemption);
    if count_fuel {
        config.consume_fuel(true);
    }
    let engine = Engine::new(&config).with_context(|| match args.preemption {
        Mode::Signal => "--preemption signal does not work here; use --preemption epoch".into(),
        mode => format!("--preemption {mode} does not work here"),
    })?;

    let mut loader = Loader::new(&engine, args.preemption);
    let guests = args
        .guests
        .iter()
        .zip(&limits)
        .map(|(text, limits)| {
            let spec = GuestSpec::parse(text, |path| Path::new(path).exists())?;
            loader.load(spec, limits.memory)
        })
        .collect::<Result<Vec<Guest>>>()?;
    if policy.name == Name::Fair {
        check_groups(args, &guests, &limits)?;
    }
    Ok(Setup {
        args,
        engine,
        guests,
        slice,
        limits,
        trace_events,
        step,
        count_fuel,
        seeds,
        interrupt: Interrupt::default(),
    })
}

impl<'a> Setup<'a> {
    /// The files to be read.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let guests = self.guests.iter().map(|guest| guest.spec.file.clone());
        let replay = self.args.schedule.replay.clone();
        let stdin = wasi::stdin_files(self.args);
        guests.chain(replay).chain(stdin).collect()
    }

    /// Does the remaining checks, and gives each guest a thread, and the thread its instance.
    /// None of them has run after it.
    ///
    /// # Errors
    ///
    /// Bad usage, or a guest that cannot be run.
    pub fn prepare(&self, seed: Option<u64>) -> Result<Prepared<'a>> {
        let args = self.args;
        let console = match &self.seeds {
            Some(_) => Console::holding(),
            None => Console::default(),
        };
        let contexts = wasi::contexts(&self.guests, args, &console)?;
        let mut store = Store::new(&self.engine, Host::default());
        store.limiter(|host| &mut host.memory);
        let guests = self
            .guests
            .iter()
            .zip(contexts)
            .map(|(guest, context)| {
                let linker = store.data_mut().linker(&self.engine, context)?;
                check_imports(&mut store, guest, &linker)?;
                Ok((guest.clone(), linker))
            })
            .collect::<Result<Vec<_>>>()?;

        store
            .wasm_threads()
            .set_slice(self.slice)
            .with_context(|| format!("--slice {}", args.slice.as_deref().unwrap_or_default()))?;
        let threads = |guest: &Guest| match guest.is_process {
            true => MOST_THREADS,
            false => 1,
        };
        store
            .wasm_threads()
            .set_max_threads(self.guests.iter().map(threads).sum())?;
        if self.count_fuel {
            store.set_fuel(u64::MAX)?;
        }
        if let Some(events) = self.trace_events {
            store
                .wasm_threads()
                .set_trace(events)
                .with_context(|| format!("--trace-events {events}"))?;
        }
        let mut policy = Policy::of(args, self.slice, seed)?;
        let limits = &self.limits;
        // Also while a guest starts, when nobody else can reach its memory.
        store.wasm_threads().set_own_all_memories(true)?;
        let mut started = Vec::new();
        let given = guests.into_iter().zip(policy.guests.drain(..));
        for (index, ((guest, linker), options)) in given.enumerate() {
            let options = match limits[index].of_group() {
                Some(_) if guest.is_process => options.group(group(index)),
                _ => options,
            };
            let limit = limits[index].memory;
            started.push(Started::start(&mut store, guest, &linker, options, limit)?);
        }
        Ok(Prepared {
            args,
            store,
            guests: started,
            slice: self.slice,
            policy,
            limits: limits.clone(),
            step: self.step,
            console,
            interrupt: self.interrupt.clone(),
        })
    }
}

/// Limits on all threads of a guest make the threads a group, and groups are what
/// `--policy fair` shares the CPU by.
fn check_groups(args: &RunArgs, guests: &[Guest], limits: &[GuestLimits]) -> Result<()> {
    for (guest, limits) in guests.iter().zip(limits) {
        let given = args.schedule.weight.first().map(|_| "--weight");
        let given = given.or(args.schedule.group.first().map(|_| "--group"));
        if let (true, Some(_), Some(given)) = (guest.is_process, limits.of_group(), given) {
            bail!(
                "{given}: guest `{}` has threads of its own, and with --cpu-limit or \
                 --fuel-limit they are a group of their own under --policy fair; give only \
                 one of the two",
                names::name(&guest.spec.text)
            );
        }
    }
    Ok(())
}

fn check_imports(store: &mut Store<Host>, guest: &Guest, linker: &Linker<Host>) -> Result<()> {
    let missing: Vec<String> = guest
        .module
        .imports()
        .filter(|import| !(guest.is_process && load::is_of_process(import)))
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| names::name(&format!("{}::{}", import.module(), import.name())))
        .collect();
    let file = names::path(&guest.spec.file);
    if !missing.is_empty() {
        bail!(
            "cannot run {file}: it imports {}, which this command does not provide; guests can \
             import WASI preview 1 (`{}`) and `{}`{}",
            missing.join(", "),
            wasi::MODULE,
            imports::MODULE,
            match guest.module.imports().any(|i| load::is_of_process(&i)) && !guest.is_process {
                true =>
                    ", and programs with a `_start` also shared memories and `wasi::thread-spawn`",
                false => "",
            }
        );
    }
    // Checks the types of the imports, with stand-ins for those of a process.
    let mut linker = linker.clone();
    if guest.is_process {
        for import in guest.module.imports().filter(load::is_of_process) {
            if let ExternType::Memory(ty) = import.ty() {
                let memory = SharedMemory::new(store.engine(), ty)
                    .with_context(|| format!("cannot run {file}"))?;
                linker.define(&mut *store, import.module(), import.name(), memory)?;
            }
        }
        linker.define_unknown_imports_as_traps(&guest.module)?;
    }
    linker
        .instantiate_pre(&guest.module)
        .with_context(|| format!("cannot run {file}"))?;
    Ok(())
}

impl<'a> Prepared<'a> {
    /// Starts the clocks, and from now on handles Ctrl-C.
    ///
    /// # Errors
    ///
    /// If the OS cannot provide what this takes.
    pub fn start(mut self) -> Result<Run<'a>> {
        self.interrupt.listen()?;
        let guests = self.guests;
        let (policy, seed) = (self.policy.name, self.policy.seed);
        if let (Some(seed), None) = (seed, self.args.schedule.seed)
            && self.args.schedule.search.is_none()
        {
            let note = format!("--policy {policy}: --seed {seed} makes the same picks again\n");
            self.console.print(Target::Stderr, note);
        }
        // Not earlier: clocks start when all guests are there.
        let record = self.args.outputs.record.is_some();
        let ask = self.policy.install(&mut self.store, record)?;
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
            if limits != ThreadLimits::new() {
                id.set_limits(&mut self.store, limits)?;
            }
            // The end of a process's first thread ends the whole process.
            handles.push(id.remote(&mut self.store)?);
        }
        self.interrupt.ends(handles);
        Ok(Run {
            args: self.args,
            store: self.store,
            guests,
            slice: self.slice,
            step: self.step,
            policy: policy.to_string(),
            seed,
            ask,
            console: self.console,
            interrupt: self.interrupt,
        })
    }
}

/// The group for the threads of guest `index`, distinct from those of `--group`.
fn group(index: usize) -> u64 {
    u64::MAX - index as u64
}
