//! A guest with an instance and a thread of its own.

use crate::live::Row;
use crate::load::Guest;
use crate::outcome::Outcome;
use crate::wasi::Host;
use wasmtime::error::Context as _;
use wasmtime::{Linker, Result, Store, ThreadId, ThreadOptions, ThreadStats, Trap, WaitFor};

/// A guest that has been started.
pub struct Started {
    pub text: String,
    /// `None` if it trapped before it became a thread.
    pub thread: Option<ThreadId>,
    pub stats: ThreadStats,
    /// What it waits for, while it is parked.
    pub waits_for: Option<WaitFor>,
    /// `None` while it runs.
    pub outcome: Option<Outcome>,
}

impl Started {
    /// Gives a guest its instance and its thread.
    pub fn start(
        store: &mut Store<Host>,
        guest: Guest,
        linker: &Linker<Host>,
        options: ThreadOptions,
    ) -> Result<Started> {
        let (thread, outcome) = match spawn(store, &guest, linker, options) {
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
            waits_for: None,
            outcome,
        })
    }

    /// Looks at what the thread has done.
    pub fn update(&mut self, store: &mut Store<Host>) {
        let (Some(id), None) = (self.thread, &self.outcome) else {
            return;
        };
        if let Some(thread) = store.wasm_thread(id) {
            self.stats = thread.stats;
            self.waits_for = thread.waits_for;
        }
        self.outcome = store.take_wasm_thread_exit(id).map(Outcome::from);
    }

    pub fn name(&self) -> String {
        match &self.thread {
            Some(id) => format!("{id} {}", self.text),
            None => format!("- {}", self.text),
        }
    }

    pub fn row(&self) -> Row {
        Row {
            state: match &self.outcome {
                Some(outcome) => outcome.word(),
                None if self.waits_for.is_some() => "parked".to_string(),
                None => "running".to_string(),
            },
            waits_for: self.waits_for.map(|wait| wait.to_string()),
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
    options: ThreadOptions,
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
    let options = options.name(guest.spec.text.clone());
    store.spawn_wasm_thread_with(function, &guest.args, options)
}
