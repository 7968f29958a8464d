//! Engines and guests that several benchmarks use.

use crate::os::timed;
use preempt_stacks::StackSlab;
use std::time::Duration;
use wasmtime::{
    Config, Engine, Func, Instance, InstanceAllocationStrategy, Module, PoolingAllocationConfig,
    Preemption, Result, RunEnd, RunSummary, Store, ThreadOptions, TypedFunc, WasmParams,
    WasmResults, ensure,
};

/// Does nothing.
pub const EMPTY: &str = r#"(module (func (export "run")))"#;

/// Never ends.
pub const SPIN: &str = r#"(module (func (export "run") (loop br 0)))"#;

/// The same as a component.
pub const SPIN_COMPONENT: &str = r#"(component
    (core module $m (func (export "run") (loop br 0)))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Goes round a loop as often as it is told, at least once.
pub const COUNT: &str = r#"(module
    (func (export "run") (param i64)
        (loop
            (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
            (br_if 0 (i64.gt_s (local.get 0) (i64.const 0))))))"#;

/// As [`COUNT`], with a call of the host in each round.
pub const COUNT_CALLS: &str = r#"(module
    (import "" "host" (func $host))
    (func (export "run") (param i64)
        (loop
            (call $host)
            (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
            (br_if 0 (i64.gt_s (local.get 0) (i64.const 0))))))"#;

/// The size of the stacks of a slab: with its guard page, 128 KiB.
pub const SLAB_STACK: usize = 124 << 10;

/// Where stacks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// Each is mapped when it is needed, and unmapped afterwards. A store keeps
    /// one.
    OnDemand,
    /// So many were mapped when the engine was made.
    Pooled(u32),
    /// From a slab, with 128 KiB of address space each.
    Slab,
}

impl Stacks {
    fn configure(self, config: &mut Config) -> Result<()> {
        match self {
            Stacks::OnDemand => {}
            Stacks::Pooled(stacks) => {
                let mut pool = PoolingAllocationConfig::new();
                pool.total_stacks(stacks)
                    .total_core_instances(stacks)
                    .total_memories(1)
                    .total_tables(1)
                    .total_gc_heaps(1);
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
            }
            Stacks::Slab => {
                StackSlab::new(SLAB_STACK)?.configure(config);
            }
        }
        Ok(())
    }
}

pub fn engine(preemption: Preemption, stacks: Stacks) -> Result<Engine> {
    let mut config = Config::new();
    config.preemption(preemption);
    stacks.configure(&mut config)?;
    Engine::new(&config)
}

/// An engine without guest threads, whose fuel can make a call yield.
pub fn fuel_engine() -> Result<Engine> {
    let mut config = Config::new();
    config.consume_fuel(true);
    Engine::new(&config)
}

/// The function `run` of a new instance of `guest`.
pub fn func(store: &mut Store<()>, guest: &str) -> Result<Func> {
    let module = Module::new(store.engine(), guest)?;
    func_of(store, &module, &[])
}

/// The function `run` of a new instance of `guest`, of a known type.
pub fn typed<P, R>(store: &mut Store<()>, guest: &str) -> Result<TypedFunc<P, R>>
where
    P: WasmParams,
    R: WasmResults,
{
    func(store, guest)?.typed(&*store)
}

/// The function `run` of a new instance of `module`.
pub fn func_of(
    store: &mut Store<()>,
    module: &Module,
    imports: &[wasmtime::Extern],
) -> Result<Func> {
    let instance = Instance::new(&mut *store, module, imports)?;
    let run = instance.get_func(&mut *store, "run");
    run.ok_or_else(|| wasmtime::format_err!("the guest does not export a function `run`"))
}

/// Spawns a guest thread whose end nobody asks for.
pub fn spawn<T: 'static, P: WasmParams, R: WasmResults>(
    store: &mut Store<T>,
    run: &TypedFunc<P, R>,
    params: P,
) -> Result<()> {
    let detached = ThreadOptions::new().detached(true);
    detached.spawn_typed(store, run, params)?;
    Ok(())
}

/// Runs all guest threads to their ends. Returns the CPU time, and the number of dispatches.
pub fn finish(store: &mut Store<()>) -> Result<(Duration, u64)> {
    let (took, run) = timed(|| store.run_wasm_threads_for(Duration::MAX))?;
    ensure_finished(&run)?;
    Ok((took, run.dispatches))
}

pub fn ensure_finished(run: &RunSummary) -> Result<()> {
    ensure!(
        run.end == RunEnd::AllFinished,
        "the run has ended as {run:?}"
    );
    Ok(())
}
