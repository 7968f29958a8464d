//! What an embedder may choose for a process.

use wasmtime::ThreadOptions;

/// How to spawn a process, for [`Program::spawn`](crate::Program::spawn).
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    pub(crate) name: Option<String>,
    pub(crate) threads: ThreadOptions,
    pub(crate) max_threads: usize,
    pub(crate) max_instances: usize,
    pub(crate) max_memory: u64,
    pub(crate) notified_from_outside: bool,
}

impl Default for ProcessOptions {
    fn default() -> ProcessOptions {
        ProcessOptions {
            name: None,
            threads: ThreadOptions::new(),
            max_threads: 1_000,
            max_instances: 2_000,
            max_memory: u64::MAX,
            notified_from_outside: false,
        }
    }
}

impl ProcessOptions {
    /// No name, and the default of each limit.
    pub fn new() -> ProcessOptions {
        ProcessOptions::default()
    }

    /// Names the threads: the first one as given, the others with their number:
    /// `name#1`, `name#2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The slice, the parameters and the limits of each thread, the first one included.
    /// The name in it counts if [`ProcessOptions::name`] gives none, and whether it is
    /// detached does not count.
    pub fn threads(mut self, options: ThreadOptions) -> Self {
        self.threads = options;
        self
    }

    /// How many threads the process may have at a time, the first one included. 1,000
    /// by default; 1 makes all of `thread-spawn` fail.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = threads;
        self
    }

    /// How many instances the process may take from the store in all, the first one
    /// included. 2,000 by default. They are [used again](crate#recycling), so
    /// this is of effect for guests only whose instances cannot be.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.max_instances = instances;
        self
    }

    /// To how many bytes each shared memory may grow, if that is less than its own
    /// maximum. No limit by default.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Whether somebody else than the store's guest threads
    /// [notifies](wasmtime::SharedMemory::atomic_notify) those that wait for an atomic:
    /// a run then sleeps where it would end with
    /// [`RunEnd::Deadlock`](wasmtime::RunEnd::Deadlock). No by default.
    pub fn notified_from_outside(mut self, notified: bool) -> Self {
        self.notified_from_outside = notified;
        self
    }
}
