//! Subjects: taking the CPU from one and giving it to the next.
//!
//! Guests go round a loop, and are preempted in each round. What the same rounds
//! take without any preemption is measured right before, and taken off.

use crate::fibers::{Called, Fibers, Inlined};
use crate::guest::{self, Stacks};
use crate::os::{Cores, hand_over, timed};
use crate::paired::Subject;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::{
    Engine, Func, Module, Preemption, Result, Slice, Store, TypedFunc, UpdateDeadline, ensure,
};

pub const GUESTS_FUEL: &str = "guest threads, fuel";
pub const GUESTS_FUEL_1000: &str = "1000 guest threads, fuel";
pub const GUESTS_EPOCH: &str = "guest threads, epoch";
pub const GUESTS_TIMER: &str = "guest threads, slice of 1 ns";
/// Of the published Wasmtime: in a process of its own.
pub const FIBERS_STOCK: &str = "bare fibers, stock";
pub const FIBERS: &str = "bare fibers";
pub const FIBERS_INLINED: &str = "bare fibers, inlined";
pub const FIBERS_1000: &str = "1000 bare fibers";
pub const CALL_ASYNC: &str = "call_async, tokio";
pub const TOKIO: &str = "tokio tasks";
pub const OS_ANY: &str = "OS threads";
pub const OS_ONE: &str = "OS threads, one core";

pub fn subjects() -> Result<Vec<Subject<'static>>> {
    let mut two = Spinners::new(2, Stacks::OnDemand)?;
    let mut thousand = Spinners::new(1000, Stacks::Pooled(1000))?;
    let mut ticked = Ticked::new()?;
    let mut timed = Timed::new()?;
    let mut two_fibers = Fibers::<Called>::new(2)?;
    let mut inlined_fibers = Fibers::<Inlined>::new(2)?;
    let mut thousand_fibers = Fibers::<Called>::new(1000)?;
    let mut yielders = Yielders::new()?;
    let mut tasks = Tasks::new()?;
    Ok(vec![
        Subject::new(GUESTS_FUEL, move |times| two.dispatches(times)),
        Subject::new(GUESTS_FUEL_1000, move |times| thousand.dispatches(times)),
        Subject::new(GUESTS_EPOCH, move |times| ticked.dispatches(times)),
        Subject::new(GUESTS_TIMER, move |times| timed.dispatches(times)),
        Subject::new(FIBERS, move |times| two_fibers.switches(times)),
        Subject::new(FIBERS_INLINED, move |times| inlined_fibers.switches(times)),
        Subject::new(FIBERS_1000, move |times| thousand_fibers.switches(times)),
        Subject::new(CALL_ASYNC, move |times| yielders.yields(times)),
        Subject::new(TOKIO, move |times| tasks.yields(times)),
        Subject::new(OS_ANY, |times| hand_over(times, Cores::Any)),
        Subject::new(OS_ONE, |times| hand_over(times, Cores::One)),
    ])
}

/// Guest threads with the smallest slices of fuel.
struct Spinners {
    store: Store<()>,
    runs: Vec<TypedFunc<i64, ()>>,
}

impl Spinners {
    fn new(threads: usize, stacks: Stacks) -> Result<Spinners> {
        let engine = guest::engine(Preemption::Fuel, stacks)?;
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, guest::COUNT)?;
        let mut runs = Vec::new();
        for _ in 0..threads {
            let run = guest::func_of(&mut store, &module, &[])?;
            runs.push(run.typed(&store)?);
        }
        Ok(Spinners { store, runs })
    }

    fn dispatches(&mut self, times: u64) -> Result<Duration> {
        let rounds = times.div_ceil(self.runs.len() as u64);
        beyond_own_work(times, |preempted| {
            let slice = Slice::Fuel(if preempted { 1 } else { i64::MAX as u64 });
            self.store.wasm_threads().set_slice(slice)?;
            run_all(&mut self.store, &self.runs, rounds)
        })
    }
}

fn run_all(
    store: &mut Store<()>,
    runs: &[TypedFunc<i64, ()>],
    rounds: u64,
) -> Result<(Duration, u64)> {
    for run in runs {
        guest::spawn(store, run, rounds as i64)?;
    }
    guest::finish(store)
}

/// How long `times` dispatches take. `run` is told whether there are to be any, and returns
/// how long all of it took, and how many there were.
fn beyond_own_work(
    times: u64,
    mut run: impl FnMut(bool) -> Result<(Duration, u64)>,
) -> Result<Duration> {
    let (own, _) = run(false)?;
    let (took, dispatches) = run(true)?;
    ensure!(
        dispatches >= times,
        "{dispatches} dispatches where each of {times} rounds should have had one"
    );
    Ok(took
        .saturating_sub(own)
        .mul_f64(times as f64 / dispatches as f64))
}

/// Guest threads under epochs that are preempted without the timer: in each
/// round a host function advances the epoch, and the store's callback says
/// yield. What is taken off is the same with the epoch of another engine.
///
/// This is the whole path but for the timer's tick, which comes from another OS
/// thread.
struct Ticked {
    store: Store<()>,
    ticked: [TypedFunc<i64, ()>; 2],
    unticked: [TypedFunc<i64, ()>; 2],
}

impl Ticked {
    fn new() -> Result<Ticked> {
        let engine = guest::engine(Preemption::Epoch, Stacks::OnDemand)?;
        let mut store = Store::new(&engine, ());
        store
            .wasm_threads()
            .set_slice(Slice::Time(Duration::from_secs(1)))?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let other = guest::engine(Preemption::Epoch, Stacks::OnDemand)?;
        Ok(Ticked {
            ticked: Self::guests(&mut store, &engine)?,
            unticked: Self::guests(&mut store, &other)?,
            store,
        })
    }

    fn guests(store: &mut Store<()>, tick: &Engine) -> Result<[TypedFunc<i64, ()>; 2]> {
        let module = Module::new(store.engine(), guest::COUNT_CALLS)?;
        let mut guest = || {
            let tick = tick.clone();
            let host = Func::wrap(&mut *store, move || tick.increment_epoch());
            let run = guest::func_of(store, &module, &[host.into()])?;
            run.typed(&*store)
        };
        Ok([guest()?, guest()?])
    }

    fn dispatches(&mut self, times: u64) -> Result<Duration> {
        beyond_own_work(times, |preempted| {
            let runs = if preempted {
                &self.ticked
            } else {
                &self.unticked
            };
            run_all(&mut self.store, runs, times.div_ceil(2))
        })
    }
}

/// Guest threads with the shortest slices of time. That they spin until the
/// timer's OS thread has woken up is most of what is measured: the shortest
/// slice that there really is.
struct Timed {
    store: Store<()>,
}

impl Timed {
    fn new() -> Result<Timed> {
        let engine = guest::engine(Preemption::Epoch, Stacks::OnDemand)?;
        let mut store = Store::new(&engine, ());
        store
            .wasm_threads()
            .set_slice(Slice::Time(Duration::from_nanos(1)))?;
        for _ in 0..2 {
            let run = guest::func(&mut store, guest::SPIN)?;
            store.spawn_wasm_thread(run, &[])?;
        }
        Ok(Timed { store })
    }

    fn dispatches(&mut self, times: u64) -> Result<Duration> {
        let mut took = Duration::ZERO;
        let mut dispatches = 0;
        while dispatches < times {
            let run = self.store.run_wasm_threads_for(Duration::from_millis(5))?;
            took += run.elapsed;
            dispatches += run.preemptions;
        }
        Ok(took.mul_f64(times as f64 / dispatches as f64))
    }
}

/// Two calls on stores of their own which yield to tokio when they have used the
/// least bit of fuel.
struct Yielders {
    runtime: tokio::runtime::Runtime,
    calls: Vec<(Store<()>, TypedFunc<i64, ()>)>,
}

impl Yielders {
    fn new() -> Result<Yielders> {
        let engine = guest::fuel_engine()?;
        let mut calls = Vec::new();
        for _ in 0..2 {
            let mut store = Store::new(&engine, ());
            store.set_fuel(u64::MAX)?;
            let run = guest::typed(&mut store, guest::COUNT)?;
            calls.push((store, run));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut this = Yielders { runtime, calls };
        this.yields_in_each_round()?;
        Ok(this)
    }

    fn yields_in_each_round(&mut self) -> Result<()> {
        let (store, run) = &mut self.calls[0];
        store.fuel_async_yield_interval(Some(1))?;
        let mut call = pin!(run.call_async(store, 100));
        let mut cx = Context::from_waker(Waker::noop());
        let mut yields = 0;
        loop {
            match call.as_mut().poll(&mut cx) {
                Poll::Pending => yields += 1,
                Poll::Ready(result) => {
                    result?;
                    break;
                }
            }
        }
        ensure!(
            (99..=102).contains(&yields),
            "{yields} yields in a hundred rounds"
        );
        Ok(())
    }

    fn yields(&mut self, times: u64) -> Result<Duration> {
        let rounds = times.div_ceil(2);
        beyond_own_work(times, |yields| {
            let took = self.run(rounds, yields.then_some(1))?;
            Ok((took, 2 * rounds))
        })
    }

    fn run(&mut self, rounds: u64, interval: Option<u64>) -> Result<Duration> {
        for (store, _) in &mut self.calls {
            store.set_fuel(u64::MAX)?;
            store.fuel_async_yield_interval(interval)?;
        }
        let calls = std::mem::take(&mut self.calls);
        let runtime = &self.runtime;
        let (took, calls) = timed(|| {
            runtime.block_on(async {
                let tasks: Vec<_> = calls
                    .into_iter()
                    .map(|(mut store, run)| {
                        tokio::spawn(async move {
                            run.call_async(&mut store, rounds as i64).await?;
                            wasmtime::error::Ok((store, run))
                        })
                    })
                    .collect();
                let mut calls = Vec::new();
                for task in tasks {
                    calls.push(task.await??);
                }
                Ok(calls)
            })
        })?;
        self.calls = calls;
        Ok(took)
    }
}

/// Two tokio tasks, with no guest.
struct Tasks {
    runtime: tokio::runtime::Runtime,
}

impl Tasks {
    fn new() -> Result<Tasks> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Tasks { runtime })
    }

    fn yields(&mut self, times: u64) -> Result<Duration> {
        let rounds = times.div_ceil(2);
        let (took, ()) = timed(|| {
            self.runtime.block_on(async {
                let task = || {
                    tokio::spawn(async move {
                        for _ in 0..rounds {
                            tokio::task::yield_now().await;
                        }
                    })
                };
                let (a, b) = (task(), task());
                a.await?;
                Ok(b.await?)
            })
        })?;
        Ok(took.mul_f64(times as f64 / (2 * rounds) as f64))
    }
}
