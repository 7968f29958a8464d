//! What all Stores share: the component, and what its requests get.

use super::acceptor;
use super::args::{RequestLimits, ServeArgs};
use super::environment::Environment;
use super::host::{Host, Instance};
use super::sizes::most_instances;
use super::tenants::Tenants;
use super::traces;
use crate::codegen;
use crate::component;
use crate::console::{Console, Target};
use crate::memory::Account;
use crate::names;
use crate::plan::Plan;
use crate::sources::{Code, Shape, Sources};
use crate::wasi::Outgoing;
use preempt_wasi::http::Proxy;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{
    Engine, Error, Module, PoolingAllocationConfig, ResourcesRequired, Result, Slice, bail,
    format_err,
};

pub struct App {
    pub engine: Engine,
    pub proxy: Proxy<Host>,
    pub acceptor: Module,
    pub tenants: Tenants,
    pub slice: Slice,
    /// The slice in the unit of schedulers.
    pub ticks: u64,
    /// Whether there is fuel although slices are not fuel.
    pub counts_fuel: bool,
    pub limits: RequestLimits,
    pub timeout: Duration,
    /// How many Stores there are.
    pub stores: Arc<AtomicUsize>,
    /// How many requests an instance answers.
    pub reuse: usize,
    /// Where traces go, if there are any.
    pub trace: Option<PathBuf>,
    environment: Environment,
    pub console: Console,
}

impl App {
    /// # Errors
    ///
    /// Bad usage, or a file that is nothing to serve with.
    pub fn new(args: &ServeArgs) -> Result<App> {
        let console = Console::default();
        let capacity = &args.capacity;
        let plan = Plan {
            mode: args.preemption,
            slice: args.slice()?,
            time: None,
            step: None,
            counts_fuel: args.limits.counts_fuel(args.preemption),
            may_be_watched: false,
        };
        let environment = args.environment.of(&console)?;
        let memory = args.limits.memory();
        let file = names::path(&args.file);
        let cannot_serve = || format!("cannot serve {file}");

        // What is wrong with it is found first, as compiling may take minutes.
        let outlines = codegen::engine(plan.mode, plan.counts_fuel, None, None)?;
        let shape = Sources::new(&outlines, plan, args.codegen.allow_precompiled)
            .shape(&args.file, memory)?;
        let Shape::Component(outline) = shape else {
            bail!(
                "cannot serve {file}: it is a module, which answers no requests; give a component \
                 of the world `wasi:http/proxy`"
            );
        };
        let imports = linker(&outlines)?;
        component::check_imports(&outlines, &outline, &imports).with_context(cannot_serve)?;
        Proxy::new(imports.instantiate_pre(&outline)?)
            .map_err(|error| not_a_proxy(error, &outlines, &outline))
            .with_context(cannot_serve)?;

        let (requests, threads) = (capacity.max_requests.get(), capacity.threads());
        let required = outline.resources_required();
        let pool = required.and_then(|required| pool(&required, requests, threads));
        let cache = args.codegen.cache()?;
        let engine = codegen::engine(plan.mode, plan.counts_fuel, cache, pool)?;
        let mut sources = Sources::new(&engine, plan, args.codegen.allow_precompiled);
        let Code::Component(component) = sources.code(&args.file, memory)? else {
            bail!("{file} is not what it was");
        };
        let proxy = Proxy::new(linker(&engine)?.instantiate_pre(&component)?);
        if let Some(dir) = &args.trace {
            traces::create_dir(dir)?;
        }
        Ok(App {
            acceptor: acceptor::module(&engine)?,
            proxy: proxy.with_context(cannot_serve)?,
            engine,
            tenants: args.tenants.of(),
            slice: plan.slice,
            ticks: args.ticks()?,
            counts_fuel: plan.counts_fuel,
            limits: args.limits.clone(),
            timeout: args.limits.timeout,
            stores: Arc::default(),
            reuse: capacity.max_instance_reuse_count.get(),
            trace: args.trace.clone(),
            environment,
            console,
        })
    }

    /// What a new instance has, for request `name`.
    ///
    /// # Errors
    ///
    /// If a directory cannot be opened.
    pub fn instance(&self, name: &str) -> Result<Instance> {
        let number = name.split(' ').next().unwrap_or_default();
        let wasi = self.environment.context(&format!("[{number}] "))?;
        Ok(Instance::new(
            wasi,
            Outgoing::new(self.environment.allow_http),
            Account::new(self.limits.memory()),
        ))
    }

    /// Tells whoever runs the server.
    pub fn log(&self, text: &str) {
        let text = format!("{}\n", names::text(text.trim_end()));
        // It is lost if nobody reads as fast.
        self.console.try_print(Target::Stderr, &text);
    }
}

/// What components can import.
fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    preempt_wasi::p2::add_to_linker(&mut linker)?;
    preempt_wasi::http::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// A pool for the instances of so many requests, so that making one takes no system calls for new
/// memory. `None` if its addresses would not fit.
fn pool(
    required: &ResourcesRequired,
    requests: usize,
    threads: usize,
) -> Option<PoolingAllocationConfig> {
    /// Addresses for 4 GiB are reserved for each.
    const MOST_MEMORIES: usize = 1 << 14;
    const MOST_PAGES: u64 = 1 << 16;
    const LEAST_TABLE: usize = 20_000;
    /// What Wasmtime keeps for an instance. It is only a limit.
    const MOST_STATE: usize = 1 << 30;
    let instances = most_instances(requests, threads)?;
    let stores = requests.checked_add(threads)?;
    let memories = instances.checked_mul(required.num_memories as usize)?;
    let pages = required.max_initial_memory_size.unwrap_or(0);
    if memories > MOST_MEMORIES || pages > MOST_PAGES {
        return None;
    }
    let count = |count: usize| u32::try_from(count).ok();
    let tables = instances.checked_mul(required.num_tables as usize)?;
    let table = usize::try_from(required.max_initial_table_size.unwrap_or(0)).ok()?;
    // Each Store has its acceptor, and some stacks to use again.
    let stacks = instances.checked_add(stores)?.checked_mul(2)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count(instances)?)
        .total_core_instances(u32::MAX)
        .total_memories(count(memories.max(1))?)
        .total_tables(count(tables.max(1))?)
        .total_stacks(count(stacks)?)
        .total_gc_heaps(count(stores.max(1))?)
        .max_memories_per_module(required.num_memories.max(1))
        .max_tables_per_module(required.num_tables.max(1))
        .max_core_instance_size(MOST_STATE)
        .max_component_instance_size(MOST_STATE)
        .table_elements(table.max(LEAST_TABLE));
    Some(pool)
}

/// Why the component cannot be served.
fn not_a_proxy(error: Error, engine: &Engine, component: &Component) -> Error {
    let ty = component.component_type();
    let exports: Vec<String> = ty
        .exports(engine)
        .map(|(name, _)| names::name(name))
        .collect();
    if let Some(newer) = exports
        .iter()
        .find(|it| it.starts_with("wasi:http/handler@"))
    {
        return format_err!(
            "it exports `{newer}`, and this command serves `wasi:http/incoming-handler` of WASI \
             0.2; `wasmtime serve` may serve it"
        );
    }
    match &exports[..] {
        [] => error.context("it exports nothing"),
        _ => format_err!("{error}; it exports {}", exports.join(", ")),
    }
}
