//! How to spawn a guest thread.

use super::limits::ThreadLimits;
use super::policy::ThreadParams;
use super::rate::Tenant;
use super::slice::Slice;
use crate::prelude::*;
use core::time::Duration;

/// Spawns guest threads with a name, a slice, limits and so on, like [`std::thread::Builder`]
/// does for OS threads.
///
/// ```
/// # use wasmtime::*;
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// # let mut config = Config::new();
/// # config.preemption(Preemption::Fuel);
/// # let engine = Engine::new(&config)?;
/// # let module = Module::new(&engine, r#"(module (func (export "spin") (loop br 0)))"#)?;
/// # let mut store = Store::new(&engine, ());
/// # let instance = Instance::new(&mut store, &module, &[])?;
/// let spin = instance.get_func(&mut store, "spin").unwrap();
/// let id = ThreadOptions::new()
///     .name("spinner")
///     .fuel_limit(1_000_000)
///     .spawn(&mut store, spin, &[])?;
/// store.run_wasm_threads_for(Duration::MAX)?;
/// assert!(matches!(id.take_exit(&mut store), Some(Exit::OverLimit(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ThreadOptions {
    pub(super) name: Option<Box<str>>,
    pub(super) slice: Option<Slice>,
    pub(super) detached: bool,
    /// What most threads do not need.
    pub(super) attributes: Option<Box<Attributes>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) params: ThreadParams,
    pub(super) limits: ThreadLimits,
    pub(super) tenant: Option<Tenant>,
}

impl ThreadOptions {
    /// No name, the store's slice, no limits, and not detached.
    pub fn new() -> ThreadOptions {
        ThreadOptions::default()
    }

    fn attributes(&mut self) -> &mut Attributes {
        self.attributes.get_or_insert_default()
    }

    /// Names the thread, for [`ThreadInfo::name`](crate::preempt::ThreadInfo::name).
    /// Names need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Gives the thread its own slice, unaffected by later changes to the store's.
    pub fn slice(mut self, slice: Slice) -> Self {
        self.slice = Some(slice);
        self
    }

    /// Its share of the CPU relative to other threads, for a
    /// [`ThreadScheduler`](crate::preempt::ThreadScheduler) that uses it. The default is 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.attributes().params.weight = weight;
        self
    }

    /// Threads with a higher priority go first, for a
    /// [`ThreadScheduler`](crate::preempt::ThreadScheduler) that uses it. The default is 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.attributes().params.priority = priority;
        self
    }

    /// The thread's group. The thread shares the group's
    /// [limits](super::WasmThreads::set_group_limits), and perhaps its share of the CPU. The
    /// default, 0, means no group.
    pub fn group(mut self, group: u64) -> Self {
        self.attributes().params.group = group;
        self
    }

    /// How soon after being spawned or woken the thread should be done, in ticks (nanoseconds or
    /// units of fuel), for a [`ThreadScheduler`](crate::preempt::ThreadScheduler) that uses it.
    /// None by default, and not a limit.
    pub fn deadline(mut self, ticks: u64) -> Self {
        self.attributes().params.deadline = Some(ticks);
        self
    }

    /// What the thread may use in total.
    pub fn limits(mut self, limits: ThreadLimits) -> Self {
        self.attributes().limits = limits;
        self
    }

    /// Sets [`ThreadLimits::cpu_time`].
    pub fn cpu_limit(mut self, time: Duration) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.cpu_time(time);
        self
    }

    /// Sets [`ThreadLimits::fuel`].
    pub fn fuel_limit(mut self, units: u64) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.fuel(units);
        self
    }

    /// Sets [`ThreadLimits::wall_time`].
    pub fn timeout(mut self, time: Duration) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.wall_time(time);
        self
    }

    /// Sets [`ThreadLimits::cpu_rate`].
    pub fn cpu_rate(mut self, quota: Duration, period: Duration) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.cpu_rate(quota, period);
        self
    }

    /// Whose thread it is: it shares the tenant's CPU rate with all other threads of the tenant, in
    /// this store and in others. This is in addition to the rates of the thread and of its group.
    ///
    /// A guest that starts threads must start them for its tenant. `preempt-wasi-threads` spawns
    /// all threads of a process with the same options.
    pub fn tenant(mut self, tenant: &Tenant) -> Self {
        self.attributes().tenant = Some(tenant.clone());
        self
    }

    /// Whether the thread is forgotten as soon as it ends, however it ends.
    ///
    /// Otherwise, and by default, it counts against
    /// [`WasmThreads::set_max_threads`](super::WasmThreads::set_max_threads) until its exit is
    /// taken.
    pub fn detached(mut self, detached: bool) -> Self {
        self.detached = detached;
        self
    }
}
