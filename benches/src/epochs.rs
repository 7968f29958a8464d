//! Subjects: what epochs cost that are delivered by signals or by checks, beside the same code
//! without interruption.

use crate::os::timed;
use crate::paired::Subject;
use crate::workloads::Workload;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use wasmtime::{
    Caller, Config, Engine, EpochDelivery, Func, Instance, Module, Result, Store, TypedFunc,
    UpdateDeadline, Val, bail,
};

/// How guests are interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nothing,
    Check,
    Signal,
}

pub const MODES: [Mode; 3] = [Mode::Nothing, Mode::Check, Mode::Signal];

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Nothing => "no interruption",
            Mode::Check => "checks",
            Mode::Signal => "signals",
        }
    }

    pub fn engine(self) -> Result<Engine> {
        let mut config = Config::new();
        match self {
            Mode::Nothing => {}
            Mode::Check => {
                config.epoch_interruption(true);
            }
            Mode::Signal => {
                config.epoch_interruption(true);
                config.epoch_delivery(EpochDelivery::Signal);
            }
        }
        Engine::new(&config)
    }
}

/// Increments the epoch of an engine, until dropped.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn new(engine: &Engine, interval: Duration) -> Ticker {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                thread::sleep(interval);
                engine.increment_epoch();
            }
        });
        Ticker {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A guest whose store's callback lets it go on at each tick.
fn store(engine: &Engine, mode: Mode) -> Store<()> {
    let mut store = Store::new(engine, ());
    if mode != Mode::Nothing {
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        store.set_epoch_deadline(1);
    }
    store
}

fn name(what: &str, mode: Mode) -> &'static str {
    format!("{what}, {}", mode.name()).leak()
}

/// The workload in each mode, interrupted at each tick, and the names of the subjects.
pub fn workload(
    workload: &'static Workload,
    interval: Duration,
) -> Result<(Vec<Subject<'static>>, [&'static str; 3])> {
    let mut subjects = Vec::new();
    for mode in MODES {
        let engine = mode.engine()?;
        let answer = workload.answer();
        subjects.push(Subject::new(name(workload.name, mode), move |times| {
            // Where code and memory happen to be matters more than what is measured: each
            // sample has its own.
            let module = Module::new(&engine, workload.guest)?;
            let mut store = store(&engine, mode);
            let instance = Instance::new(&mut store, &module, &[])?;
            let Some(run) = instance.get_func(&mut store, "run") else {
                bail!("the guest exports no `run`");
            };
            let _ticker = (mode != Mode::Nothing).then(|| Ticker::new(&engine, interval));
            let mut result = [Val::I32(0)];
            let (took, ()) =
                timed(|| run.call(&mut store, &[Val::I32(i32::try_from(times)?)], &mut result))?;
            answer.check(&result[0])?;
            Ok(took)
        }));
    }
    Ok((subjects, MODES.map(|mode| name(workload.name, mode))))
}

/// A call of a guest, and of the host by a guest.
pub fn calls() -> Result<(Vec<Subject<'static>>, [[&'static str; 3]; 2])> {
    const GUEST: &str = r#"(module
        (import "" "host" (func $host))
        (func (export "empty"))
        (func (export "calls") (param i64)
          (loop $l
            (call $host)
            (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
            (br_if $l (i64.ne (local.get 0) (i64.const 0))))))"#;
    let mut subjects = Vec::new();
    for mode in MODES {
        let guest = || -> Result<(Store<()>, Instance)> {
            let engine = mode.engine()?;
            let mut store = store(&engine, mode);
            let module = Module::new(&engine, GUEST)?;
            let host = Func::wrap(&mut store, |_: Caller<'_, ()>| {});
            let instance = Instance::new(&mut store, &module, &[host.into()])?;
            Ok((store, instance))
        };
        let (mut guest_store, instance) = guest()?;
        let empty: TypedFunc<(), ()> = instance.get_typed_func(&mut guest_store, "empty")?;
        subjects.push(Subject::new(name("guest call", mode), move |times| {
            Ok(timed(|| (0..times).try_for_each(|_| empty.call(&mut guest_store, ())))?.0)
        }));
        let (mut host_store, instance) = guest()?;
        let calls: TypedFunc<i64, ()> = instance.get_typed_func(&mut host_store, "calls")?;
        subjects.push(Subject::new(name("host call", mode), move |times| {
            Ok(timed(|| calls.call(&mut host_store, i64::try_from(times)?))?.0)
        }));
    }
    let names = |what: &str| MODES.map(|mode| name(what, mode));
    Ok((subjects, [names("guest call"), names("host call")]))
}

/// A store, an instance and a first call, of a module with so many functions.
pub fn stores(functions: usize) -> Result<(Vec<Subject<'static>>, [&'static str; 3])> {
    let what = format!("store per request, {functions} functions");
    let others = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))";
    let guest = format!(
        r#"(module (func (export "run")) {})"#,
        others.repeat(functions - 1)
    );
    let mut subjects = Vec::new();
    for mode in MODES {
        let engine = mode.engine()?;
        let module = Module::new(&engine, &guest)?;
        subjects.push(Subject::new(name(&what, mode), move |times| {
            let (took, ()) = timed(|| {
                for _ in 0..times {
                    let mut store = store(&engine, mode);
                    let instance = Instance::new(&mut store, &module, &[])?;
                    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
                    run.call(&mut store, ())?;
                }
                Ok(())
            })?;
            Ok(took)
        }));
    }
    Ok((subjects, MODES.map(|mode| name(&what, mode))))
}

/// An increment of the epoch: with no guest in Wasm, and with guests on this many OS threads
/// that have all reached their deadlines.
pub fn increments(spinners: usize) -> Result<Subject<'static>> {
    let engine = Mode::Signal.engine()?;
    let what = match spinners {
        0 => "increment, nobody in Wasm".to_owned(),
        _ => format!("increment, {spinners} OS threads past their deadlines"),
    };
    // One guest has run, so that there is a slot to look at.
    spin(&engine, true)?;
    let mut running = Vec::new();
    for _ in 0..spinners {
        let engine = engine.clone();
        running.push(thread::spawn(move || spin(&engine, false)));
    }
    thread::sleep(Duration::from_millis(20 * spinners as u64));
    // They go on until the process ends.
    Ok(Subject::new(what.leak(), move |times| {
        let _ = &running;
        Ok(timed(|| {
            (0..times).for_each(|_| engine.increment_epoch());
            Ok(())
        })?
        .0)
    }))
}

/// Runs a guest that spins: until its first deadline, or for ever.
fn spin(engine: &Engine, once: bool) -> Result<()> {
    let mut store = Store::new(engine, ());
    store.epoch_deadline_callback(move |_| {
        Ok(match once {
            true => UpdateDeadline::Interrupt,
            false => UpdateDeadline::Continue(1),
        })
    });
    store.set_epoch_deadline(u64::from(!once));
    let module = Module::new(engine, crate::guest::SPIN)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    let _ = run.call(&mut store, ());
    Ok(())
}

/// How long after an increment the callback of a guest that spins begins, in nanoseconds, by
/// `count` increments.
pub fn latencies(mode: Mode, count: usize) -> Result<Vec<f64>> {
    let engine = mode.engine()?;
    let start = Instant::now();
    let seen = Arc::new(AtomicU64::new(0));
    let (engine_there, seen_there) = (engine.clone(), seen.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let guest = thread::spawn(move || -> Result<()> {
        let mut store = Store::new(&engine_there, ());
        store.epoch_deadline_callback(move |_| {
            seen_there.store(start.elapsed().as_nanos() as u64, Relaxed);
            Ok(match stopped.load(Relaxed) {
                true => UpdateDeadline::Interrupt,
                false => UpdateDeadline::Continue(1),
            })
        });
        store.set_epoch_deadline(1);
        let module = Module::new(&engine_there, crate::guest::SPIN)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let _ = run.call(&mut store, ());
        Ok(())
    });
    thread::sleep(Duration::from_millis(50));
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        thread::sleep(Duration::from_micros(500));
        seen.store(0, Relaxed);
        let incremented = start.elapsed().as_nanos() as u64;
        engine.increment_epoch();
        while seen.load(Relaxed) == 0 {
            std::hint::spin_loop();
        }
        latencies.push(seen.load(Relaxed).saturating_sub(incremented) as f64);
    }
    stop.store(true, Relaxed);
    engine.increment_epoch();
    let _ = guest.join();
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}
