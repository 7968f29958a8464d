//! A guest, with one thread that starts its instance, or with several.

use crate::component::ComponentCall;
use crate::limits::GuestLimits;
use crate::live::Row;
use crate::load::{Guest, ModuleCall, Runs};
use crate::names;
use crate::outcome::Outcome;
use crate::thread::{Other, Which};
use crate::wasi::{self, ContextBuilder, Host};
use indicatif::BinaryBytes;
use preempt_wasi_threads::{Process, ProcessOptions, Program, Tid};
use std::collections::BTreeMap;
use wasmtime::component::{self as model, Val};
use wasmtime::preempt::{ComponentThreadId, ThreadStats, WaitFor};
use wasmtime::{
    Instance, Linker, Module, Result, Store, StoreContextMut, ThreadId, ThreadOptions, bail,
    format_err,
};

/// What a guest can import.
pub enum Imports {
    Module(Linker<Host>),
    /// With the guest's own context.
    Component(model::Linker<Host>, Option<Box<ContextBuilder>>),
}

impl Imports {
    /// The imports of each guest, whose context this is. `is_repeated` tells whether time is
    /// virtual.
    ///
    /// # Errors
    ///
    /// If WASI cannot be linked.
    pub fn of<'a>(
        store: &mut Store<Host>,
        guests: impl Iterator<Item = (&'a Guest, Option<ContextBuilder>)>,
        is_repeated: bool,
    ) -> Result<Vec<Imports>> {
        let engine = store.engine().clone();
        let mut of_components = None;
        let imports = guests.map(|(guest, context)| match guest.runs {
            Runs::Module(..) => {
                let wasi = context.map(|context| context.wasi);
                let linker = store.data_mut().linker(&engine, wasi)?;
                Ok(Imports::Module(linker))
            }
            Runs::Component(..) => {
                let linker = match &mut of_components {
                    Some(linker) => linker,
                    none => none.insert(wasi::component_linker(&engine, is_repeated)?),
                };
                Ok(Imports::Component(linker.clone(), context.map(Box::new)))
            }
        });
        imports.collect()
    }
}

/// What a guest's threads are to the store.
enum Threads {
    /// A single one.
    One,
    Process(Process),
    /// A single one, which calls a component.
    Component {
        thread: ComponentThreadId<Vec<Val>>,
        /// Whether the result is whether it succeeded.
        is_command: bool,
    },
}

/// A guest that has been started.
pub struct Started {
    pub text: String,
    /// Its first thread.
    pub thread: ThreadId,
    threads: Threads,
    /// Of all its threads together.
    pub stats: ThreadStats,
    /// What the first thread waits for, while it is parked.
    pub waits_for: Option<WaitFor>,
    /// The other threads that have not ended, and what they wait for.
    others: Vec<(ThreadId, Option<WaitFor>)>,
    /// The names of all other threads seen so far.
    names: BTreeMap<ThreadId, String>,
    /// `None` while it is running.
    pub outcome: Option<Outcome>,
    /// Which of its threads ended it, if it is a process.
    pub ended_by: Option<Which>,
}

impl Started {
    /// Gives a guest its thread, which will start its instance.
    ///
    /// # Errors
    ///
    /// If there is no room for it. None of the guest has run.
    pub fn start(
        store: &mut Store<Host>,
        guest: &Guest,
        imports: Imports,
        options: ThreadOptions,
        limits: &GuestLimits,
    ) -> Result<Started> {
        let memory = store.data().memory.clone();
        memory.add(limits.memory);
        let name = guest.spec.text.clone();
        let spawned = match (&guest.runs, imports) {
            (Runs::Module(module, call), Imports::Module(linker)) if call.is_process => {
                spawn_process(store, name, module, &linker, options, limits)
                    .map(|process| (process.main(), Threads::Process(process)))
            }
            (Runs::Module(module, call), Imports::Module(linker)) => {
                let options = options.name(name);
                spawn(store, module, call, &linker, options).map(|thread| (thread, Threads::One))
            }
            (Runs::Component(component, call), Imports::Component(linker, context)) => {
                let options = options.name(name);
                spawn_component(store, component, call, &linker, options).map(|thread| {
                    let id = thread.id();
                    if let Some(context) = context {
                        store.data_mut().components.add(id, *context);
                    }
                    let is_command = call.function.is_command();
                    (id, Threads::Component { thread, is_command })
                })
            }
            _ => bail!("guest `{}` has imports of another kind", names::name(&name)),
        };
        let (thread, threads) = spawned.map_err(|error| {
            let guest = names::name(&guest.spec.text);
            let error = match memory.refused() {
                true => error.context(format!(
                    "the guest is limited to {} of memory; use --memory-limit to allow more",
                    BinaryBytes(limits.memory)
                )),
                false => error,
            };
            error.context(format!("cannot start guest `{guest}`"))
        })?;
        memory.started(thread);
        Ok(Started {
            text: guest.spec.text.clone(),
            thread,
            threads,
            stats: ThreadStats::default(),
            waits_for: None,
            others: Vec::new(),
            names: BTreeMap::new(),
            outcome: None,
            ended_by: None,
        })
    }

    /// Whether it can have several threads.
    pub fn is_process(&self) -> bool {
        matches!(self.threads, Threads::Process(_))
    }

    /// Updates the guest's state from what its threads have done.
    pub fn update(&mut self, store: &mut Store<Host>) {
        if let Threads::Process(process) = &self.threads {
            let process = process.clone();
            return self.update_process(store, &process);
        }
        if self.outcome.is_some() {
            return;
        }
        let id = self.thread;
        if let Some(thread) = id.info(&store) {
            self.stats = thread.stats;
            self.waits_for = thread.waits_for;
        }
        self.outcome = match &self.threads {
            Threads::Component { thread, is_command } => {
                let exit = thread.take_exit(&mut *store);
                exit.map(|exit| Outcome::of_component(exit, *is_command))
            }
            _ => id.take_exit(&mut *store).as_ref().map(Outcome::from),
        };
        if self.outcome.is_some() {
            store.data_mut().components.remove(id);
        }
    }

    fn update_process(&mut self, store: &mut Store<Host>, process: &Process) {
        let ended = process.stats();
        self.stats.cpu_time = ended.cpu_time;
        self.stats.fuel_consumed = ended.fuel_consumed;
        self.stats.dispatches = ended.dispatches;
        self.stats.preemptions = ended.preemptions;
        self.stats.throttles = ended.throttles;
        self.waits_for = None;
        self.others.clear();
        for (tid, id) in process.threads() {
            let Some(thread) = id.info(&store) else {
                continue;
            };
            self.stats.cpu_time += thread.stats.cpu_time;
            self.stats.fuel_consumed += thread.stats.fuel_consumed;
            self.stats.dispatches += thread.stats.dispatches;
            self.stats.preemptions += thread.stats.preemptions;
            self.stats.throttles += thread.stats.throttles;
            if tid == Tid::MAIN {
                self.waits_for = thread.waits_for;
            } else {
                self.others.push((id, thread.waits_for));
                self.names
                    .entry(id)
                    .or_insert_with(|| self.text.clone() + &suffix(tid));
            }
        }
        if let Some(outcome) = process.outcome() {
            self.outcome = Some(Outcome::from(&outcome.exit));
            self.ended_by = Some(Which {
                thread: outcome.thread.as_u64(),
                name: self.text.clone() + &suffix(outcome.tid),
            });
            if outcome.tid != Tid::MAIN {
                let name = self.text.clone() + &suffix(outcome.tid);
                self.names.insert(outcome.thread, name);
            }
        }
    }

    /// How many threads it has had, if it is a process.
    pub fn started(&self) -> Option<u64> {
        match &self.threads {
            Threads::Process(process) => Some(1 + process.stats().started),
            _ => None,
        }
    }

    /// The known threads, with their names.
    pub fn threads(&self) -> Vec<(ThreadId, String)> {
        let first = (self.thread, self.text.clone());
        let others = self.names.iter().map(|(id, name)| (*id, name.clone()));
        [first].into_iter().chain(others).collect()
    }

    /// Its stopped threads, except the first one.
    pub fn stuck_others(&self) -> Vec<Other> {
        let other = |(id, waits_for): &(ThreadId, Option<WaitFor>)| Other {
            thread: Which {
                thread: id.as_u64(),
                name: self.names.get(id).cloned().unwrap_or_default(),
            },
            waits_for: waits_for.map(|wait| wait.to_string()),
        };
        match self.outcome {
            Some(_) => Vec::new(),
            None => self.others.iter().map(other).collect(),
        }
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.thread, names::name(&self.text))
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
    module: &Module,
    call: &ModuleCall,
    linker: &Linker<Host>,
    options: ThreadOptions,
) -> Result<ThreadId> {
    let pre = linker.instantiate_pre(module)?;
    let (export, args) = (call.export.clone(), call.args.clone());
    let started = move |mut store: StoreContextMut<'_, Host>, instance: Instance| {
        let function = instance.get_func(&mut store, &export);
        let function = function.ok_or_else(|| format_err!("it has no export `{export}`"))?;
        Ok((function, args))
    };
    options.spawn_instance(&mut *store, &pre, started)
}

fn spawn_component(
    store: &mut Store<Host>,
    component: &model::Component,
    call: &ComponentCall,
    linker: &model::Linker<Host>,
    options: ThreadOptions,
) -> Result<ComponentThreadId<Vec<Val>>> {
    let pre = linker.instantiate_pre(component)?;
    let (function, args) = (call.function.clone(), call.args.clone());
    let started = move |store: StoreContextMut<'_, Host>, instance: model::Instance| {
        Ok((function.of(store, instance)?, args))
    };
    options.spawn_component_instance(&mut *store, &pre, started)
}

/// A guest whose threads share a memory.
fn spawn_process(
    store: &mut Store<Host>,
    name: String,
    module: &Module,
    linker: &Linker<Host>,
    options: ThreadOptions,
    limits: &GuestLimits,
) -> Result<Process> {
    let options = ProcessOptions::new()
        .name(name)
        .max_memory(limits.memory)
        .max_threads(limits.threads)
        // Twice as many: what some guests do makes their threads' instances unfit for reuse.
        .max_instances(2 * limits.threads)
        .threads(options);
    Program::new(module, linker)?.spawn(store, options)
}

/// What a thread's name adds to its guest's.
fn suffix(tid: Tid) -> String {
    match tid {
        Tid::MAIN => String::new(),
        tid => format!("#{tid}"),
    }
}
