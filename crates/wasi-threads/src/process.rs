//! A process, as the embedder sees it.

use crate::instances::Instances;
use crate::options::ProcessOptions;
use crate::table::{Table, Tid};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::preempt::{RemoteThread, ThreadStats};
use wasmtime::{Error, Exit, SharedMemory, ThreadId, ThreadOptions};

/// A running program: its threads and the memory they share. Made by
/// [`Program::spawn`](crate::Program::spawn).
///
/// This is a handle, usable from any OS thread. The store owns the threads, and they keep
/// going if the handle is dropped.
#[derive(Clone)]
pub struct Process {
    shared: Arc<Shared>,
    main: ThreadId,
}

/// How a process ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The thread that ended it.
    pub thread: ThreadId,
    /// What the guest calls that thread: [`Tid::MAIN`] for its first one.
    pub tid: Tid,
    /// How that thread ended. [`Exit::Returned`] only if it was the first one. WASI's
    /// `proc_exit` is an [`Exit::Trapped`] with the host function's error; for
    /// wasmtime-wasi that is an `I32Exit`, which holds the status.
    pub exit: Exit,
}

impl Outcome {
    /// The error, if a trap or a host function's error ended it.
    pub fn error(&self) -> Option<&Error> {
        match &self.exit {
            Exit::Trapped(error) => Some(error),
            _ => None,
        }
    }
}

/// What a process has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many threads `thread-spawn` has started.
    pub started: u64,
    /// How many times `thread-spawn` has returned an error.
    pub refused: u64,
    /// The most threads that existed at a time, including the first one.
    pub most_threads: usize,
    /// How many instances were made or attempted, including the first thread's.
    pub instances: usize,
    /// [`ThreadStats::cpu_time`] of the threads that have ended, as for all fields below.
    pub cpu_time: Duration,
    /// [`ThreadStats::fuel_consumed`].
    pub fuel_consumed: u64,
    /// [`ThreadStats::dispatches`].
    pub dispatches: u64,
    /// [`ThreadStats::preemptions`].
    pub preemptions: u64,
    /// [`ThreadStats::throttles`].
    pub throttles: u64,
}

impl Stats {
    /// Adds what a thread has used.
    pub(crate) fn add(&mut self, thread: &ThreadStats) {
        self.cpu_time += thread.cpu_time;
        self.fuel_consumed = self.fuel_consumed.saturating_add(thread.fuel_consumed);
        self.dispatches += thread.dispatches;
        self.preemptions += thread.preemptions;
        self.throttles += thread.throttles;
    }
}

/// What all parts of a process share.
pub(crate) struct Shared {
    pub(crate) options: ProcessOptions,
    pub(crate) memories: Vec<SharedMemory>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) threads: Table,
    pub(crate) instances: Instances,
    pub(crate) outcome: Option<Arc<Outcome>>,
    pub(crate) stats: Stats,
}

impl Shared {
    pub(crate) fn new(options: ProcessOptions, memories: Vec<SharedMemory>) -> Shared {
        let state = Mutex::new(State {
            threads: Table::new(options.max_threads),
            instances: Instances::new(options.max_instances),
            outcome: None,
            stats: Stats::default(),
        });
        Shared {
            options,
            memories,
            state,
        }
    }

    /// The options for spawning the thread with this number.
    pub(crate) fn thread_options(&self, tid: Tid) -> ThreadOptions {
        let options = self.options.threads.clone().detached(true);
        match (&self.options.name, tid) {
            (None, _) => options,
            (Some(name), Tid::MAIN) => options.name(name.clone()),
            (Some(name), tid) => options.name(format!("{name}#{tid}")),
        }
    }

    /// Held only briefly: no guest or embedder code runs under the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process because of what one of its threads did, unless it has ended before.
    /// That thread is no longer in the table.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut state = self.lock();
        if state.outcome.is_none() {
            state.outcome = Some(Arc::new(outcome));
        }
        self.kill(state);
    }

    fn kill(&self, state: MutexGuard<'_, State>) {
        let handles: Vec<RemoteThread> = state
            .threads
            .handles()
            .map(|(_, handle)| handle.clone())
            .collect();
        drop(state);
        handles.iter().for_each(RemoteThread::kill);
    }
}

impl Process {
    pub(crate) fn new(shared: Arc<Shared>, main: ThreadId) -> Process {
        Process { shared, main }
    }

    /// The first thread, which called `_start`.
    ///
    /// The process owns this thread's exit [hook](wasmtime::ThreadId::on_exit),
    /// which must not be replaced, and takes its exit: see [`Process::outcome`].
    pub fn main(&self) -> ThreadId {
        self.main
    }

    /// The memory that the threads share: the first one, if the module imports several;
    /// `None` if it imports no shared memory.
    pub fn memory(&self) -> Option<&SharedMemory> {
        self.shared.memories.first()
    }

    /// All memories that the threads share, in import order.
    pub fn memories(&self) -> &[SharedMemory] {
        &self.shared.memories
    }

    /// The threads that have not ended, ordered by number.
    pub fn threads(&self) -> Vec<(Tid, ThreadId)> {
        let state = self.shared.lock();
        let thread = |(tid, handle): (Tid, &RemoteThread)| (tid, handle.id());
        state.threads.handles().map(thread).collect()
    }

    /// How the process ended; `None` if it has not.
    ///
    /// Its other threads may not have ended yet: see [`Process::has_ended`].
    pub fn outcome(&self) -> Option<Arc<Outcome>> {
        self.shared.lock().outcome.clone()
    }

    /// Whether all threads have ended.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().threads.len() == 0
    }

    /// Ends all threads.
    ///
    /// Returns at once. The threads end during the store's current run, or at the start of
    /// its next one. Does nothing to a process that has ended.
    pub fn kill(&self) {
        self.shared.kill(self.shared.lock());
    }

    /// What the process has done so far.
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        Stats {
            instances: state.instances.made(),
            ..state.stats
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.shared.options.name)
            .field("main", &self.main)
            .field("threads", &self.threads().len())
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}
