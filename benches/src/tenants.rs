//! How evenly tenants get their CPU rates, and how evenly runs on tokio their shares.

use crate::guest;
use crate::paired::Spread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use wasmtime::preempt::{CpuShare, Tenant};
use wasmtime::{Config, Engine, Func, Instance, Module, Preemption, Result, Store, ThreadOptions};

fn tokio(workers: usize) -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    Ok(runtime)
}

fn engine() -> Result<Engine> {
    Engine::new(Config::new().preemption(Preemption::for_this_host()))
}

/// By how much CPU rates were missed, in percent.
pub struct Missed {
    /// By the tenant that was furthest from its rate.
    pub tenant: f64,
    /// By the store that was furthest from the mean of its tenant's.
    pub store: f64,
}

/// What a store's thread has used.
type Used = JoinHandle<Result<Duration>>;

/// 100 stores of four tenants, all of which spin, for so long on two OS threads. Together the
/// tenants may use 0.15 of a CPU, which a busy machine has, too.
pub fn rates(time: Duration) -> Result<Missed> {
    const TENANTS: [(usize, u64); 4] = [(10, 1), (20, 2), (30, 4), (40, 8)];
    const PERIOD: Duration = Duration::from_millis(100);
    let runtime = tokio(2)?;
    let engine = engine()?;
    let module = Module::new(&engine, guest::SPIN)?;
    let mut tasks: Vec<(Tenant, Duration, Vec<Used>)> = Vec::new();
    // The first quota is there at once.
    let warm = time / 10;
    for (stores, quota) in TENANTS {
        let quota = Duration::from_millis(quota);
        let tenant = Tenant::new(quota, PERIOD)?;
        let stores = (0..stores).map(|_| -> Result<_> {
            let mut store = Store::new(&engine, ());
            let spin = guest::func_of(&mut store, &module, &[])?;
            let id = ThreadOptions::new()
                .tenant(&tenant)
                .spawn(&mut store, spin, &[])?;
            Ok(runtime.spawn(async move {
                store.run_wasm_threads_async(warm).await?;
                let used = |store: &Store<()>| {
                    id.info(store)
                        .map_or(Duration::ZERO, |info| info.stats.cpu_time)
                };
                let before = used(&store);
                store.run_wasm_threads_async(time).await?;
                Ok(used(&store) - before)
            }))
        });
        let stores = stores.collect::<Result<Vec<_>>>()?;
        tasks.push((tenant, quota, stores));
    }
    thread::sleep(warm);
    let before: Vec<Duration> = tasks.iter().map(|(tenant, ..)| tenant.cpu_time()).collect();
    let start = Instant::now();
    thread::sleep(time);
    let (took, mut missed) = (
        start.elapsed(),
        Missed {
            tenant: 0.0,
            store: 0.0,
        },
    );
    let after: Vec<Duration> = tasks.iter().map(|(tenant, ..)| tenant.cpu_time()).collect();
    for ((_, quota, stores), (before, after)) in tasks.into_iter().zip(before.iter().zip(after)) {
        let rate = quota.as_secs_f64() / PERIOD.as_secs_f64();
        let got = (after - *before).as_secs_f64() / took.as_secs_f64();
        missed.tenant = missed.tenant.max((got / rate - 1.0).abs() * 100.0);
        let mut used = Vec::new();
        for store in stores {
            used.push(runtime.block_on(store)??.as_secs_f64());
        }
        let mean = used.iter().sum::<f64>() / used.len() as f64;
        for used in used {
            missed.store = missed.store.max((used / mean - 1.0).abs() * 100.0);
        }
    }
    Ok(missed)
}

/// What decides how much stores get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each tenant has a `CpuShare` of weight 1.
    Shares,
    /// Each `run_wasm_threads_async` is for itself.
    Runs,
    /// Stores in `call_async` that yield at epochs of 10 ms, as on plain Wasmtime.
    CallAsync,
}

/// What a tenant with one store gets of what it and a tenant with 99 stores get on so many
/// workers, in percent. All of them spin.
pub fn share_of_one(by: By, workers: usize, time: Duration) -> Result<f64> {
    let runtime = tokio(workers)?;
    let config = &mut Config::new();
    let engine = Engine::new(match by {
        By::CallAsync => config.epoch_interruption(true),
        _ => config.preemption(Preemption::for_this_host()),
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let ticker = (by == By::CallAsync).then(|| {
        let (engine, stop) = (engine.clone(), stop.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
                engine.increment_epoch();
            }
        })
    });
    let module = Module::new(&engine, ASKING)?;
    let mut tasks = Vec::new();
    let tenants = [1, 99].map(|stores| (stores, Asking::new(&stop)));
    for (stores, asking) in &tenants {
        let share = CpuShare::new(1)?;
        for _ in 0..*stores {
            tasks.push(spinner(by, &runtime, &module, &share, asking)?);
        }
    }
    let turns = || tenants.each_ref().map(|(_, asking)| asking.turns());
    // The first ones run before the others are there.
    thread::sleep(time / 4);
    let before = turns();
    thread::sleep(time);
    let after = turns();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task)??;
    }
    if let Some(ticker) = ticker {
        // It does not panic.
        let _ = ticker.join();
    }
    let [one, many] = [0, 1].map(|tenant| (after[tenant] - before[tenant]) as f64);
    Ok(100.0 * one / (one + many))
}

/// Spins until the host says stop, which it asks from time to time.
const ASKING: &str = r#"(module
    (import "" "stop" (func $stop (result i32)))
    (func (export "run")
        (local $i i32)
        (loop $more
            (local.set $i (i32.const 10000))
            (loop $spin
                (br_if $spin (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
            (br_if $more (i32.eqz (call $stop))))))"#;

/// What the spinners of a tenant ask.
#[derive(Clone)]
struct Asking {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Asking {
    fn new(stop: &Arc<AtomicBool>) -> Asking {
        Asking {
            stop: stop.clone(),
            asked: Arc::default(),
        }
    }

    fn turns(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) -> i32 {
        self.asked.fetch_add(1, Ordering::Relaxed);
        i32::from(self.stop.load(Ordering::Relaxed))
    }
}

fn spinner(
    by: By,
    runtime: &Runtime,
    module: &Module,
    share: &CpuShare,
    asking: &Asking,
) -> Result<JoinHandle<Result<()>>> {
    let mut store = Store::new(module.engine(), ());
    let asking = asking.clone();
    let stop = Func::wrap(&mut store, move || asking.ask());
    if by == By::CallAsync {
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let module = module.clone();
        return Ok(runtime.spawn(async move {
            let instance = Instance::new_async(&mut store, &module, &[stop.into()]).await?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        }));
    }
    let instance = Instance::new(&mut store, module, &[stop.into()])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    ThreadOptions::new().spawn_typed(&mut store, &run, ())?;
    let share = (by == By::Shares).then(|| share.clone());
    Ok(runtime.spawn(async move {
        let run = store.run_wasm_threads_async(Duration::MAX);
        match &share {
            Some(share) => run.share(share).await.map(drop),
            None => run.await.map(drop),
        }
    }))
}

/// The middle of some measurements in turns, one for each of `by`.
pub fn shares_of_one(workers: usize, quick: bool) -> Result<Vec<(By, Spread)>> {
    let (rounds, time) = match quick {
        true => (3, Duration::from_millis(500)),
        false => (7, Duration::from_secs(2)),
    };
    let all = [By::Shares, By::Runs, By::CallAsync];
    let mut figures = vec![Vec::new(); all.len()];
    for _ in 0..rounds {
        for (by, figures) in all.into_iter().zip(&mut figures) {
            figures.push(share_of_one(by, workers, time)?);
        }
    }
    Ok(all
        .into_iter()
        .zip(figures.into_iter().map(Spread::of))
        .collect())
}
