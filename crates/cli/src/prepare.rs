//! Everything that can be wrong before a guest runs is found here, and then the
//! guests are started.

use crate::args::RunArgs;
use crate::console::Console;
use crate::guest::GuestSpec;
use crate::interrupt::Interrupt;
use crate::load::{Guest, Loader};
use crate::mode::Mode;
use crate::policy::Policy;
use crate::run::Run;
use crate::started::Started;
use crate::wasi::{self, Host};
use std::path::Path;
use wasmtime::error::Context as _;
use wasmtime::{
    Config, DEFAULT_INSTANCE_LIMIT, Engine, Linker, Result, Slice, Store, ThreadLimits, bail,
};
use wasmtime_preempt::imports;

/// Guests that are known to be good, and the Store that they will run in.
pub struct Prepared<'a> {
    args: &'a RunArgs,
    store: Store<Host>,
    guests: Vec<(Guest, Linker<Host>)>,
    slice: Slice,
    policy: Policy,
    limits: Vec<ThreadLimits>,
    console: Console,
}

/// Reads and checks all that was given; nothing of a guest has run after it.
///
/// # Errors
///
/// Bad usage, or a guest that cannot be run.
pub fn prepare(args: &RunArgs) -> Result<Prepared<'_>> {
    let mut config = Config::new();
    config.preemption(args.preemption.into());
    if args.guests.len() > DEFAULT_INSTANCE_LIMIT {
        bail!(
            "{} guests are too many: a Store holds {DEFAULT_INSTANCE_LIMIT} instances",
            args.guests.len()
        );
    }
    let slice = match &args.slice {
        Some(text) => args.preemption.parse_slice(text)?,
        None => args.preemption.default_slice(),
    };
    let policy = Policy::of(args, slice)?;
    let limits = args.limits.of(&args.guests)?;
    let trace_events = args.outputs.trace_events()?;
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
        .map(|text| loader.load(GuestSpec::parse(text, |path| Path::new(path).exists())?))
        .collect::<Result<Vec<Guest>>>()?;

    let console = Console::default();
    let contexts = wasi::contexts(&guests, args, &console)?;
    let mut store = Store::new(&engine, Host::default());
    let guests = guests
        .into_iter()
        .zip(contexts)
        .map(|(guest, context)| {
            let linker = store.data_mut().linker(&engine, context)?;
            check_imports(&mut store, &guest, &linker)?;
            Ok((guest, linker))
        })
        .collect::<Result<Vec<_>>>()?;

    store
        .wasm_thread_slice(slice)
        .with_context(|| format!("--slice {}", args.slice.as_deref().unwrap_or_default()))?;
    store.wasm_thread_limit(guests.len())?;
    if count_fuel {
        store.set_fuel(u64::MAX)?;
    }
    if let Some(events) = trace_events {
        store
            .trace_wasm_threads(events)
            .with_context(|| format!("--trace-events {events}"))?;
    }
    Ok(Prepared {
        args,
        store,
        guests,
        slice,
        policy,
        limits,
        console,
    })
}

fn check_imports(store: &mut Store<Host>, guest: &Guest, linker: &Linker<Host>) -> Result<()> {
    let missing: Vec<String> = guest
        .module
        .imports()
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| format!("{}::{}", import.module(), import.name()))
        .collect();
    let file = guest.spec.file.display();
    if !missing.is_empty() {
        bail!(
            "cannot run {file}: it imports {}, which is not there; guests can import \
             WASI preview 1 (`{}`) and `{}`",
            missing.join(", "),
            wasi::MODULE,
            imports::MODULE
        );
    }
    // The types of the imports.
    linker
        .instantiate_pre(&guest.module)
        .with_context(|| format!("cannot run {file}"))?;
    Ok(())
}

impl<'a> Prepared<'a> {
    /// Gives each guest its instance, in which its start function runs, and its
    /// thread, which does not run yet.
    ///
    /// # Errors
    ///
    /// If a guest cannot be started, and that is not its doing: out of memory.
    pub fn start(mut self) -> Result<Run<'a>> {
        let mut guests = Vec::new();
        for ((guest, linker), options) in self.guests.into_iter().zip(self.policy.guests.drain(..))
        {
            let started = Started::start(&mut self.store, guest, &linker, options)?;
            guests.push(started);
        }
        let (policy, seed) = (self.policy.name, self.policy.seed);
        if let (Some(seed), None) = (seed, self.args.schedule.seed) {
            eprintln!("--policy {policy}: --seed {seed} makes the same picks again");
        }
        // Only now: times start after all start functions.
        let record = self.args.outputs.record.is_some();
        let ask = self.policy.install(&mut self.store, record)?;
        let mut handles = Vec::new();
        for (guest, limits) in guests.iter().zip(self.limits) {
            let Some(id) = guest.thread else { continue };
            if limits != ThreadLimits::new() {
                self.store.set_wasm_thread_limits(id, limits)?;
            }
            handles.push(self.store.wasm_thread_handle(id)?);
        }
        Ok(Run {
            args: self.args,
            store: self.store,
            guests,
            slice: self.slice,
            policy: policy.to_string(),
            seed,
            ask,
            console: self.console,
            interrupt: Interrupt::ends(handles)?,
        })
    }
}
