//! How late the sibling is.
//!
//! Two guest threads take turns. One is of the kind that is measured, and never lets go of the
//! CPU by itself. The other one only calls the host, which looks at the clock, and lets go. So
//! between two of its looks there is one slice of the first thread, and what is beyond that is
//! the delay: with the time to begin the slice, which is part of it.

use super::kinds::Kind;
use crate::distribution::Distribution;
use crate::os::taken_off_core;
use crate::signal::bare::BareTimer;
use preempt_wasi::p1;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::time::{Duration, Instant};
use wasmtime::component::{self, Component};
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Engine, Linker, Module, Preemption, Result, RunEnd, Slice, Store, ThreadOptions, ensure,
};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

const SLICE: Duration = Duration::from_micros(100);

/// How many samples come between two of the control.
const BATCH: usize = 500;

const OBSERVER: &str = r#"(module
    (import "" "look" (func $look))
    (func (export "run") (loop $again (call $look) (br $again))))"#;

/// What the guests' store holds.
pub struct Host {
    wasi: WasiP1Ctx,
    last: Option<Look>,
    delays: Vec<(Duration, bool)>,
    /// Fuel that the guest had used at the last look, and in each slice.
    pub used_before: u64,
    pub used: Vec<u64>,
}

struct Look {
    at: Instant,
    taken_off_core: Option<i64>,
}

impl Host {
    pub fn new() -> Host {
        Host {
            wasi: WasiCtxBuilder::new()
                .stdout(wasmtime_wasi::p2::pipe::SinkOutputStream)
                .build_p1(),
            last: None,
            delays: Vec::new(),
            used_before: 0,
            used: Vec::new(),
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        let taken_off_core = taken_off_core().ok();
        if let Some(last) = &self.last {
            let late = (now - last.at).saturating_sub(SLICE);
            let is_disturbed = taken_off_core.is_none() || taken_off_core != last.taken_off_core;
            self.delays.push((late, is_disturbed));
        }
        self.last = Some(Look {
            at: Instant::now(),
            taken_off_core,
        });
    }
}

/// Spawns the guest, once `store` is ready for it.
pub fn spawn(kind: &Kind, store: &mut Store<Host>) -> Result<()> {
    let options = ThreadOptions::new().detached(true);
    let engine = store.engine().clone();
    if kind.is_component {
        let component = Component::new(&engine, &kind.text)?;
        let linker = component::Linker::new(&engine);
        let instance = linker.instantiate(&mut *store, &component)?;
        let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
        options.spawn_component_typed(store, &run, ())?;
        return Ok(());
    }
    let mut linker = Linker::new(&engine);
    p1::add_to_linker(&mut linker, |host: &mut Host| &mut host.wasi)?;
    let module = Module::new(&engine, &kind.text)?;
    let instance = linker.instantiate(&mut *store, &module)?;
    let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
    options.spawn_typed(store, &run, ())?;
    Ok(())
}

/// Spawns the sibling, which calls `look` each time it has the CPU.
pub fn spawn_observer(
    store: &mut Store<Host>,
    look: impl Fn(wasmtime::Caller<'_, Host>) + Copy + Send + Sync + 'static,
) -> Result<()> {
    let mut linker = Linker::new(store.engine());
    linker.func_wrap_concurrent("", "look", move |caller, ()| {
        Box::pin(async move {
            caller.with(look)?;
            caller.yield_now().await;
            Ok(())
        })
    })?;
    let module = Module::new(store.engine(), OBSERVER)?;
    let instance = linker.instantiate(&mut *store, &module)?;
    let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
    ThreadOptions::new()
        .detached(true)
        .spawn_typed(store, &run, ())?;
    Ok(())
}

pub fn measure(
    kind: &Kind,
    preemption: Preemption,
    samples: usize,
    control: &mut Distribution,
) -> Result<Distribution> {
    let mut config = Config::new();
    config.preemption(preemption);
    kind.configure(&mut config);
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, Host::new());
    store.wasm_threads().set_slice(Slice::Time(SLICE))?;
    spawn(kind, &mut store)?;
    spawn_observer(&mut store, |mut caller| caller.data_mut().look())?;
    // Its timer thread, which comes with the first run, may use all cores.
    store.run_wasm_threads_for(SLICE)?;
    store.data_mut().delays.clear();
    let _pinned = Pinned::new()?;
    let mut timer = BareTimer::new()?;
    let mut delays = Distribution::new(kind.name)?;
    // What is done for the first time, such as touching memory, is part of it.
    while delays.len() < samples {
        for _ in 0..BATCH / 10 {
            let before = taken_off_core()?;
            let late = timer.sample(SLICE)?;
            control.record(late, taken_off_core()? != before);
        }
        store.data_mut().last = None;
        let run = store.run_wasm_threads_for(SLICE * 3 * BATCH as u32 / 2)?;
        ensure!(run.end == RunEnd::TimeUp, "{}: {run:?}", kind.name);
        for (late, is_disturbed) in store.data_mut().delays.drain(..) {
            delays.record(late, is_disturbed);
        }
    }
    Ok(delays)
}

/// The calling OS thread has one core, until this is dropped.
struct Pinned(CpuSet);

impl Pinned {
    fn new() -> Result<Pinned> {
        let all = sched_getaffinity(None).context("cannot ask which cores there are")?;
        let core = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core));
        let mut one = CpuSet::new();
        one.set(core.context("this OS thread has no core")?);
        sched_setaffinity(None, &one).context("cannot choose a core")?;
        Ok(Pinned(all))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.0);
    }
}
