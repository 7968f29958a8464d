//! What runs of many OS threads cost, with a store each on one engine, beside those of one: the
//! difference is what they write and read together.
//!
//! A run has two guest threads, each of which calls the host and yields some times, and an end
//! that does not come. What is compared is CPU time for each run, so more OS threads than cores
//! are no mistake; but only as many as there are cores can slow down each other.

use crate::os::cpu_time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Engine, Func, Instance, Module, Preemption, Result, Store, ThreadOptions, TypedFunc,
};

const GUEST: &str = r#"(module
    (import "" "host" (func $host))
    (import "" "yield" (func $yield))
    (func (export "run")
        (call $host) (call $yield)
        (call $host) (call $yield)
        (call $host) (call $yield)
        (call $host) (call $yield)))"#;

struct Runs {
    store: Store<()>,
    run: TypedFunc<(), ()>,
}

impl Runs {
    fn new(engine: &Engine, module: &Module) -> Result<Runs> {
        let mut store = Store::new(engine, ());
        let host = Func::wrap(&mut store, || ());
        let yields = Func::wrap_concurrent(&mut store, |caller, ()| {
            Box::pin(async move { caller.yield_now().await })
        })?;
        let imports = [host.into(), yields.into()];
        let instance = Instance::new(&mut store, module, &imports)?;
        let run = instance.get_typed_func(&mut store, "run")?;
        Ok(Runs { store, run })
    }

    fn run(&mut self) -> Result<()> {
        for _ in 0..2 {
            let options = ThreadOptions::new().detached(true);
            options.spawn_typed(&mut self.store, &self.run, ())?;
        }
        self.store.run_wasm_threads_for(Duration::from_secs(1))?;
        Ok(())
    }
}

/// CPU time of a run, in nanoseconds, while so many OS threads do nothing else.
pub fn cost_of_run(preemption: Preemption, os_threads: usize, time: Duration) -> Result<f64> {
    let engine = Engine::new(Config::new().preemption(preemption))?;
    let module = Module::new(&engine, GUEST)?;
    let stop = AtomicBool::new(false);
    let one = || -> Result<(Duration, u64)> {
        let mut runs = Runs::new(&engine, &module)?;
        for _ in 0..100 {
            runs.run()?;
        }
        let (start, mut count) = (cpu_time(), 0);
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..20 {
                runs.run()?;
            }
            count += 20;
        }
        Ok((cpu_time() - start, count))
    };
    let all = thread::scope(|scope| -> Result<Vec<_>> {
        let threads: Vec<_> = (0..os_threads).map(|_| scope.spawn(one)).collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("an OS thread has panicked")?);
        joined.collect()
    })?;
    let time: Duration = all.iter().map(|(time, _)| *time).sum();
    let count: u64 = all.iter().map(|(_, count)| *count).sum();
    Ok(time.as_nanos() as f64 / count.max(1) as f64)
}
