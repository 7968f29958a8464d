//! An embedder's options for a process.

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
    /// Options with no name, and the default for each limit.
    pub fn new() -> ProcessOptions {
        ProcessOptions::default()
    }

    /// Names the threads: the first one as given, the others with their number:
    /// `name#1`, `name#2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The slice, parameters and limits of each thread, including the first one. A name set
    /// there is used only if [`ProcessOptions::name`] gives none; whether it is detached is
    /// ignored.
    pub fn threads(mut self, options: ThreadOptions) -> Self {
        self.threads = options;
        self
    }

    /// The most threads the process may have at a time, including the first one. The
    /// default is 1,000; with 1, every `thread-spawn` fails.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = threads;
        self
    }

    /// The most instances the process may take from the store in all, including the first
    /// one. The default is 2,000. Instances are [reused](crate#recycling), so this only
    /// matters for guests whose instances cannot be.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.max_instances = instances;
        self
    }

    /// The most bytes each shared memory may grow to, if that is less than its own maximum.
    /// No limit by default.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Whether anybody but the store's guest threads
    /// [notifies](wasmtime::SharedMemory::atomic_notify) threads that wait for an atomic.
    /// If so, a run sleeps where it would otherwise end with
    /// [`RunEnd::Deadlock`](wasmtime::RunEnd::Deadlock). The default is no.
    pub fn notified_from_outside(mut self, notified: bool) -> Self {
        self.notified_from_outside = notified;
        self
    }
}
