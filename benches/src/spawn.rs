//! Subjects: starting something that does nothing, and seeing it end.

use crate::guest::{self, Stacks};
use crate::os;
use crate::paired::Subject;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use wasmtime::preempt::TypedExit;
use wasmtime::{
    Engine, Exit, Func, Preemption, Result, Store, ThreadOptions, TypedFunc, bail, ensure,
};

pub const THREAD: &str = "guest thread";
pub const THREAD_TYPED: &str = "guest thread, typed";
pub const THREAD_DETACHED: &str = "guest thread, detached";
pub const THREAD_BATCH: &str = "guest thread of a batch of 100";
/// By the fastest source for this host.
pub const THREAD_TIMED: &str = "guest thread, slices of time";
pub const PAIR: &str = "two guest threads in a run";
pub const PAIR_TIMED: &str = "two guest threads in a run, slices of time";
pub const CALL: &str = "call_async";
pub const CALL_TYPED: &str = "call_async, typed";
pub const POOLED_THREAD: &str = "guest thread, pooled";
pub const POOLED_THREAD_TYPED: &str = "guest thread, typed, pooled";
pub const POOLED_THREAD_BATCH: &str = "guest thread of a batch of 100, pooled";
pub const POOLED_CALL: &str = "call_async, pooled";
pub const POOLED_CALL_TYPED: &str = "call_async, typed, pooled";
pub const TOKIO: &str = "tokio task";
pub const TOKIO_BATCH: &str = "tokio task of a batch of 100";
pub const OS: &str = "OS thread";

const BATCH: u64 = 100;

pub fn subjects() -> Result<Vec<Subject<'static>>> {
    let runtime = || tokio::runtime::Builder::new_current_thread().build();
    let on_demand = guest::engine(Preemption::Fuel, Stacks::OnDemand)?;
    let pooled = guest::engine(Preemption::Fuel, Stacks::Pooled(1000))?;
    let timed_slices = guest::engine(Preemption::for_this_host(), Stacks::OnDemand)?;
    let (tokio, tokio_batch) = (runtime()?, runtime()?);
    Ok(vec![
        guests(&on_demand, THREAD, Guests::threads)?,
        guests(&on_demand, THREAD_TYPED, Guests::typed_threads)?,
        guests(&on_demand, THREAD_DETACHED, Guests::detached_threads)?,
        guests(&on_demand, THREAD_BATCH, Guests::batches)?,
        guests(&timed_slices, THREAD_TIMED, Guests::threads)?,
        guests(&on_demand, PAIR, Guests::pairs)?,
        guests(&timed_slices, PAIR_TIMED, Guests::pairs)?,
        guests(&on_demand, CALL, Guests::calls)?,
        guests(&on_demand, CALL_TYPED, Guests::typed_calls)?,
        guests(&pooled, POOLED_THREAD, Guests::threads)?,
        guests(&pooled, POOLED_THREAD_TYPED, Guests::typed_threads)?,
        guests(&pooled, POOLED_THREAD_BATCH, Guests::batches)?,
        guests(&pooled, POOLED_CALL, Guests::calls)?,
        guests(&pooled, POOLED_CALL_TYPED, Guests::typed_calls)?,
        Subject::new(TOKIO, move |times| {
            timed(|| {
                tokio.block_on(async {
                    for _ in 0..times {
                        tokio::spawn(async {}).await?;
                    }
                    Ok(())
                })
            })
        }),
        Subject::new(TOKIO_BATCH, move |times| {
            let mut tasks = Vec::new();
            timed(|| {
                tokio_batch.block_on(async {
                    for batch in batches(times, BATCH) {
                        tasks.extend((0..batch).map(|_| tokio::spawn(async {})));
                        for task in tasks.drain(..) {
                            task.await?;
                        }
                    }
                    Ok(())
                })
            })
        }),
        Subject::new(OS, |times| {
            let start = Instant::now();
            for _ in 0..times {
                let thread = std::thread::Builder::new().spawn(|| ())?;
                ensure!(thread.join().is_ok(), "an empty OS thread has panicked");
            }
            Ok(start.elapsed())
        }),
    ])
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    Ok(os::timed(run)?.0)
}

/// The sizes of batches that come to `times`.
fn batches(times: u64, size: u64) -> impl Iterator<Item = u64> {
    (0..times.div_ceil(size)).map(move |i| size.min(times - i * size))
}

fn guests(
    engine: &Engine,
    name: &'static str,
    run: fn(&mut Guests, u64) -> Result<()>,
) -> Result<Subject<'static>> {
    let mut guests = Guests::new(engine)?;
    Ok(Subject::new(name, move |times| {
        timed(|| run(&mut guests, times))
    }))
}

/// An empty guest. Its store has a stack at hand, from the call before.
struct Guests {
    store: Store<()>,
    func: Func,
    typed: TypedFunc<(), ()>,
}

impl Guests {
    fn new(engine: &Engine) -> Result<Guests> {
        let mut store = Store::new(engine, ());
        let func = guest::func(&mut store, guest::EMPTY)?;
        let typed = func.typed(&store)?;
        Ok(Guests { store, func, typed })
    }

    fn threads(&mut self, times: u64) -> Result<()> {
        self.in_batches(times, 1)
    }

    fn pairs(&mut self, times: u64) -> Result<()> {
        self.in_batches(2 * times, 2)
    }

    fn batches(&mut self, times: u64) -> Result<()> {
        self.in_batches(times, BATCH)
    }

    fn in_batches(&mut self, times: u64, size: u64) -> Result<()> {
        let mut ids = Vec::new();
        for batch in batches(times, size) {
            for _ in 0..batch {
                ids.push(self.store.spawn_wasm_thread(self.func, &[])?);
            }
            self.store.run_wasm_threads_for(Duration::MAX)?;
            for id in ids.drain(..) {
                match id.take_exit(&mut self.store) {
                    Some(Exit::Returned(_)) => {}
                    exit => bail!("an empty guest has ended as {exit:?}"),
                }
            }
        }
        Ok(())
    }

    fn typed_threads(&mut self, times: u64) -> Result<()> {
        for _ in 0..times {
            let id = ThreadOptions::new().spawn_typed(&mut self.store, &self.typed, ())?;
            self.store.run_wasm_threads_for(Duration::MAX)?;
            match id.take_exit(&mut self.store) {
                Some(TypedExit::Returned(())) => {}
                exit => bail!("an empty guest has ended as {exit:?}"),
            }
        }
        Ok(())
    }

    fn detached_threads(&mut self, times: u64) -> Result<()> {
        for _ in 0..times {
            let detached = ThreadOptions::new().detached(true);
            detached.spawn(&mut self.store, self.func, &[])?;
            let run = self.store.run_wasm_threads_for(Duration::MAX)?;
            ensure!(run.finished == 1, "an empty guest has not ended: {run:?}");
        }
        Ok(())
    }

    fn calls(&mut self, times: u64) -> Result<()> {
        for _ in 0..times {
            ready(self.func.call_async(&mut self.store, &[], &mut []))?;
        }
        Ok(())
    }

    fn typed_calls(&mut self, times: u64) -> Result<()> {
        for _ in 0..times {
            ready(self.typed.call_async(&mut self.store, ()))?;
        }
        Ok(())
    }
}

/// The result of a call that does not wait, with as little of an executor as
/// there can be.
fn ready(call: impl Future<Output = Result<()>>) -> Result<()> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => bail!("an empty guest has waited for something"),
    }
}
