//! The run itself: a Store, a thread for each guest, and what came of them.

use crate::args::RunArgs;
use crate::console::{Console, Target};
use crate::guest::GuestSpec;
use crate::interleaving::{Interleaving, share};
use crate::live::{Live, Row};
use crate::load::{Guest, Loader};
use crate::mode::Mode;
use crate::outcome::Outcome;
use crate::report::{Report, Thread};
use crate::wasi::{self, Host};
use std::path::Path;
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{
    Config, DEFAULT_INSTANCE_LIMIT, Engine, Linker, Result, RunEnd, RunSummary, Slice, Store,
    ThreadId, ThreadOptions, ThreadStats, Trap, bail,
};

/// How often the live view is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Guests that are known to be good, and the Store that they will run in.
pub struct Prepared<'a> {
    args: &'a RunArgs,
    store: Store<Host>,
    guests: Vec<(Guest, Linker<Host>)>,
    slice: Slice,
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
    Ok(Prepared {
        args,
        store,
        guests,
        slice,
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
             WASI preview 1 (`{}`)",
            missing.join(", "),
            wasi::MODULE
        );
    }
    // The types of the imports.
    linker
        .instantiate_pre(&guest.module)
        .with_context(|| format!("cannot run {file}"))?;
    Ok(())
}

impl Prepared<'_> {
    /// Runs the guests until all have finished or the time is up.
    ///
    /// # Errors
    ///
    /// What is not a guest's doing: out of memory, a terminal that is gone.
    pub fn run(mut self) -> Result<Report> {
        let mut guests = Vec::new();
        for (guest, linker) in std::mem::take(&mut self.guests) {
            guests.push(Started::start(&mut self.store, guest, &linker)?);
        }

        let names: Vec<String> = guests.iter().map(Started::name).collect();
        let live = (!self.args.json && Target::Stdout.is_terminal()).then(|| Live::new(&names));
        if let Some(live) = &live {
            self.console.attach(live.view());
        }
        let step = self.args.interleaving;
        let mut interleaving = step.map(|step| Interleaving::new(step, guests.len()));
        let ran = self.run_in_steps(&mut guests, live.as_ref(), interleaving.as_mut());
        if let Some(live) = &live {
            live.finish();
        }
        self.console.finish()?;
        self.store.shutdown_wasm_threads();
        Ok(self.report(guests, ran?, interleaving))
    }

    /// Runs all threads, in steps where somebody is to look at them in between.
    fn run_in_steps(
        &mut self,
        guests: &mut [Started],
        live: Option<&Live>,
        mut interleaving: Option<&mut Interleaving>,
    ) -> Result<Totals> {
        let mut totals = Totals::default();
        let started = Instant::now();
        let left = || match self.args.time {
            Some(time) => time.saturating_sub(started.elapsed()),
            None => Duration::MAX,
        };
        // The end of a step ends a slice, so that steps are not shorter.
        let redraw = REDRAW.max(match self.slice {
            Slice::Time(slice) => slice,
            _ => Duration::ZERO,
        });
        loop {
            let mut step = left();
            if live.is_some() {
                step = step.min(redraw);
            }
            if let Some(interleaving) = &interleaving {
                step = step.min(interleaving.step());
            }
            let summary = self.store.run_wasm_threads_for(step)?;
            totals.add(&summary);
            for guest in &mut *guests {
                guest.update(&mut self.store);
            }

            if let Some(interleaving) = &mut interleaving {
                let cpu_times = guests.iter().map(|guest| guest.stats.cpu_time);
                interleaving.sample(summary.elapsed, cpu_times);
            }
            if let Some(live) = live {
                let rows: Vec<Row> = guests.iter().map(Started::row).collect();
                live.draw(&rows);
                self.console.redraw()?;
            }
            if summary.end != RunEnd::TimeUp || left().is_zero() {
                break;
            }
        }
        totals.elapsed = started.elapsed();
        if let Some(interleaving) = interleaving {
            interleaving.finish();
        }
        Ok(totals)
    }

    fn report(
        &self,
        guests: Vec<Started>,
        totals: Totals,
        interleaving: Option<Interleaving>,
    ) -> Report {
        let cpu_time = guests.iter().map(|guest| guest.stats.cpu_time).sum();
        let shares = interleaving.as_ref().map(Interleaving::whole);
        let interleaving_step = shares.as_ref().map(|shares| shares.step);
        let mut columns = shares.map(|shares| shares.threads.into_iter());
        let threads: Vec<Thread> = guests
            .into_iter()
            .map(|guest| Thread {
                thread: guest.thread.map(ThreadId::as_u64),
                guest: guest.text,
                outcome: guest.outcome.unwrap_or(Outcome::Stopped),
                cpu_time: guest.stats.cpu_time,
                slices: guest.stats.dispatches,
                preemptions: guest.stats.preemptions,
                share: share(guest.stats.cpu_time, cpu_time),
                fuel: (self.args.preemption == Mode::Fuel).then_some(guest.stats.fuel_consumed),
                interleaving: columns.as_mut().and_then(Iterator::next),
            })
            .collect();
        let stopped = |thread: &Thread| matches!(thread.outcome, Outcome::Stopped);
        Report {
            preemption: self.args.preemption.to_string(),
            slice: self.slice,
            end: match threads.iter().any(stopped) {
                true => "time_up",
                false => "all_finished",
            },
            elapsed: totals.elapsed,
            cpu_time,
            slices: totals.dispatches,
            preemptions: totals.preemptions,
            interleaving_step,
            interleaving,
            threads,
        }
    }
}

/// A guest that has been started.
struct Started {
    text: String,
    /// `None` if it trapped before it became a thread.
    thread: Option<ThreadId>,
    stats: ThreadStats,
    /// `None` while it runs.
    outcome: Option<Outcome>,
}

impl Started {
    /// Gives a guest its instance and its thread.
    fn start(store: &mut Store<Host>, guest: Guest, linker: &Linker<Host>) -> Result<Started> {
        let (thread, outcome) = match spawn(store, &guest, linker) {
            Ok(thread) => (Some(thread), None),
            Err(error) => match Outcome::from(&error) {
                // Out of memory, say, rather than something in the guest.
                Outcome::Trapped { backtrace, .. }
                    if backtrace.is_empty() && !error.is::<Trap>() =>
                {
                    let guest = &guest.spec.text;
                    return Err(error).with_context(|| format!("cannot start guest `{guest}`"));
                }
                outcome => (None, Some(outcome)),
            },
        };
        Ok(Started {
            text: guest.spec.text,
            thread,
            stats: ThreadStats::default(),
            outcome,
        })
    }

    /// Looks at what the thread has done.
    fn update(&mut self, store: &mut Store<Host>) {
        let (Some(id), None) = (self.thread, &self.outcome) else {
            return;
        };
        if let Some(thread) = store.wasm_thread(id) {
            self.stats = thread.stats;
        }
        self.outcome = store.take_wasm_thread_exit(id).map(Outcome::from);
    }

    fn name(&self) -> String {
        match &self.thread {
            Some(id) => format!("{id} {}", self.text),
            None => format!("- {}", self.text),
        }
    }

    fn row(&self) -> Row {
        Row {
            state: match &self.outcome {
                Some(outcome) => outcome.word(),
                None => "running".to_string(),
            },
            finished: self.outcome.is_some(),
            cpu_time: self.stats.cpu_time,
            slices: self.stats.dispatches,
        }
    }
}

fn spawn(
    store: &mut Store<Host>,
    guest: &Guest,
    linker: &Linker<Host>,
) -> wasmtime::Result<ThreadId> {
    let instance = linker.instantiate(&mut *store, &guest.module)?;
    if guest.export != "_start" && guest.argv.is_some() {
        // A WASI library, to be set up before any other call.
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call(&mut *store, ())?;
        }
    }
    let function = instance
        .get_func(&mut *store, &guest.export)
        .ok_or_else(|| wasmtime::format_err!("its instance has no export `{}`", guest.export))?;
    let options = ThreadOptions::new().name(guest.spec.text.clone());
    store.spawn_wasm_thread_with(function, &guest.args, options)
}

/// What all steps did together.
#[derive(Default)]
struct Totals {
    dispatches: u64,
    preemptions: u64,
    elapsed: Duration,
}

impl Totals {
    fn add(&mut self, step: &RunSummary) {
        self.dispatches += step.dispatches;
        self.preemptions += step.preemptions;
    }
}
