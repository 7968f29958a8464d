//! The data of a Store: what belongs to each of its instances.
//!
//! Host functions get only the data of the Store. They find what is the instance's by the thread
//! that is on the CPU.

use crate::memory::Account;
use crate::wasi::Outgoing;
use preempt_wasi::http::Handle;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::preempt::ThreadOnCpu;
use wasmtime::{ResourceLimiter, Result, ThreadId};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// How many resources of the host an instance may have at a time, such as headers, bodies and
/// streams.
const MOST_RESOURCES: usize = 1024;

/// How large the headers in one resource may be.
const MOST_FIELDS: usize = 64 << 10;

pub struct Host {
    _counted: Counted,
    on_cpu: Option<ThreadOnCpu>,
    by_thread: HashMap<ThreadId, Box<Instance>>,
    /// For calls of no request's. It can do nothing.
    of_nobody: Box<Instance>,
    /// Instances that can answer another request.
    #[expect(clippy::vec_box, reason = "they are moved from place to place")]
    pub idle: Vec<Box<Instance>>,
    /// How many instances were made.
    pub made: usize,
    /// How many requests have a thread.
    pub running: usize,
    /// How large the memories are of instances that answer no more.
    pub garbage: u64,
    /// What the last threads that have ended were called, for a trace.
    pub names: VecDeque<(ThreadId, String)>,
}

/// One of so many Stores, for as long as this exists.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an instance has, except for its memories.
#[derive(Default)]
pub struct Instance {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    pub memory: Account,
    /// Its function, once it is made.
    pub handle: Option<Handle>,
    /// How many requests it has got.
    pub requests: usize,
}

impl Instance {
    pub fn new(wasi: WasiCtx, outgoing: Outgoing, memory: Account) -> Instance {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MOST_FIELDS);
        Instance {
            wasi,
            table,
            http,
            outgoing,
            memory,
            ..Instance::default()
        }
    }

    pub fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outgoing,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl Host {
    /// Counts one more of the Stores.
    pub fn new(stores: &Arc<AtomicUsize>) -> Host {
        stores.fetch_add(1, Ordering::Relaxed);
        Host {
            _counted: Counted(stores.clone()),
            on_cpu: None,
            by_thread: HashMap::new(),
            of_nobody: Box::default(),
            idle: Vec::new(),
            made: 0,
            running: 0,
            garbage: 0,
            names: VecDeque::new(),
        }
    }

    /// For the Store whose thread on the CPU is `on_cpu`.
    pub fn is_of(&mut self, on_cpu: ThreadOnCpu) {
        self.on_cpu = Some(on_cpu);
    }

    /// The thread runs in this instance.
    pub fn enter(&mut self, thread: ThreadId, instance: Box<Instance>) {
        self.by_thread.insert(thread, instance);
    }

    /// The thread has ended.
    pub fn leave(&mut self, thread: ThreadId) -> Option<Box<Instance>> {
        self.by_thread.remove(&thread)
    }

    /// The instance whose thread is on the CPU.
    pub fn current(&mut self) -> &mut Instance {
        let thread = self.on_cpu.as_ref().and_then(ThreadOnCpu::get);
        let current = thread.and_then(|thread| self.by_thread.get_mut(&thread));
        current.unwrap_or(&mut self.of_nobody)
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Instance { wasi, table, .. } = self.current();
        WasiCtxView { ctx: wasi, table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.current().http()
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(self.current().memory.grow(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let memory = &mut self.current().memory;
        Ok(memory.grow(current, desired, maximum, size_of::<usize>()))
    }

    // How many instances there are is limited by how many requests there are.

    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}
