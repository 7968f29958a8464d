//! The contexts of components. Their host functions get only the data of the Store, in which they
//! find the context of the guest whose thread is on the CPU.
//!
//! Each guest has a table of resources of its own: a handle means nothing to another guest, and
//! no guest can use up the table of the others.

use super::Host;
use super::context::ContextBuilder;
use super::outgoing::Outgoing;
use std::collections::HashMap;
use wasmtime::ThreadId;
use wasmtime::preempt::ThreadOnCpu;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// How many resources of the host a guest may have at a time, such as streams and descriptors:
/// more than a program needs, and few enough for the memory of this process.
const MOST_RESOURCES: usize = 1 << 16;

/// How large the HTTP headers in one of them may be: so that all together are within a GiB.
const MOST_FIELDS: usize = 16 << 10;

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
    http: WasiHttpCtx,
    outgoing: Outgoing,
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
    pub fn add(&mut self, thread: ThreadId, mut context: ContextBuilder) {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MOST_FIELDS);
        let context = Context {
            wasi: context.wasi.build(),
            table,
            http,
            outgoing: context.outgoing,
        };
        self.by_thread.insert(thread, context);
    }

    /// The thread has ended. Closes what the guest has left open.
    pub fn remove(&mut self, thread: ThreadId) {
        self.by_thread.remove(&thread);
    }

    /// The context of the guest whose thread is on the CPU.
    fn current(&mut self) -> &mut Context {
        let thread = self.on_cpu.as_ref().and_then(ThreadOnCpu::get);
        let context = thread.and_then(|thread| self.by_thread.get_mut(&thread));
        context.unwrap_or(&mut self.of_nobody)
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Context { wasi, table, .. } = self.components.current();
        WasiCtxView { ctx: wasi, table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let context = self.components.current();
        WasiHttpCtxView {
            hooks: &mut context.outgoing,
            table: &mut context.table,
            ctx: &mut context.http,
        }
    }
}
