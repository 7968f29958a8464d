//! The contexts of components. Their host functions get only the data of the Store, in which they
//! find the context of the guest whose thread is on the CPU.
//!
//! Each guest has a table of resources of its own: a handle means nothing to another guest, and
//! no guest can use up the table of the others.

use super::Host;
use std::collections::HashMap;
use wasmtime::ThreadId;
use wasmtime::preempt::ThreadOnCpu;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// How many resources of the host a guest may have at a time, such as streams and descriptors:
/// more than a program needs, and few enough for the memory of this process.
const MOST_RESOURCES: usize = 1 << 16;

/// How many handles the Store has room for, for each component: as many as upstream gives a
/// whole Store. Those to resources of a component's own count too, and only together: a guest
/// that makes enough of them can still use up those of the others.
pub const HANDLES: usize = 100_000;

#[derive(Default)]
pub struct Contexts {
    on_cpu: Option<ThreadOnCpu>,
    by_thread: HashMap<ThreadId, Context>,
    /// For calls of no guest's. It can do nothing.
    of_nobody: Context,
}

#[derive(Default)]
struct Context {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Contexts {
    /// For the Store whose thread on the CPU is `on_cpu`.
    pub fn new(on_cpu: ThreadOnCpu) -> Contexts {
        Contexts {
            on_cpu: Some(on_cpu),
            ..Contexts::default()
        }
    }

    /// Gives the guest with this thread its context.
    pub fn add(&mut self, thread: ThreadId, mut wasi: WasiCtxBuilder) {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        let wasi = wasi.build();
        self.by_thread.insert(thread, Context { wasi, table });
    }

    /// The thread has ended. Closes what the guest has left open.
    pub fn remove(&mut self, thread: ThreadId) {
        self.by_thread.remove(&thread);
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let contexts = &mut self.components;
        let thread = contexts.on_cpu.as_ref().and_then(ThreadOnCpu::get);
        let context = thread.and_then(|thread| contexts.by_thread.get_mut(&thread));
        let Context { wasi, table } = context.unwrap_or(&mut contexts.of_nobody);
        WasiCtxView { ctx: wasi, table }
    }
}
