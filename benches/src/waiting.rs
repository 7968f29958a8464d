//! Subjects: guest threads that wait, and runs as futures.

use crate::guest;
use crate::os::{cpu_time, one_core, timed};
use crate::paired::Subject;
use rustix::thread::sched_setaffinity;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use wasmtime::{
    Config, Engine, Func, Instance, Linker, MemoryType, Module, Preemption, Result, SharedMemory,
    Slice, Store, ThreadOptions, TypedFunc, ensure,
};

pub const PARK: &str = "park and wake itself";
pub const PARK_CALL_ASYNC: &str = "wrap_async in call_async, pending once";
pub const NOTIFY: &str = "atomic wait and notify, two guest threads";
pub const NOTIFY_OS: &str = "the same, two OS threads";
pub const NOTIFY_OS_ONE: &str = "the same, two OS threads, one core";
pub const SYNC_RUN: &str = "guests for 20 ms, run_wasm_threads_for";
pub const ASYNC_RUN: &str = "guests for 20 ms, run_wasm_threads_async in tokio";
pub const ONE_STORE: &str = "half of the work on each of two OS threads";
pub const TWO_STORES: &str = "the work on one OS thread";

pub fn subjects() -> Result<Vec<Subject<'static>>> {
    let mut parks = Parks::new()?;
    let mut pending = Pending::new()?;
    let mut threads = PingPong::new(Preemption::for_this_host())?;
    let mut os = PingPong::new(Preemption::for_this_host())?;
    let mut os_one = PingPong::new(Preemption::for_this_host())?;
    Ok(vec![
        Subject::new(PARK, move |times| parks.run(times)),
        Subject::new(PARK_CALL_ASYNC, move |times| pending.run(times)),
        Subject::new(NOTIFY, move |times| threads.guest_threads(times)),
        Subject::new(NOTIFY_OS, move |times| os.os_threads(times, false)),
        Subject::new(NOTIFY_OS_ONE, move |times| os_one.os_threads(times, true)),
    ])
}

/// Subjects that take some 20 ms each time.
pub fn runs() -> Result<Vec<Subject<'static>>> {
    let (mut sync, mut tasks) = (Runs::new()?, Runs::new()?);
    let (mut one, mut two) = (Scaled::new()?, Scaled::new()?);
    Ok(vec![
        Subject::new(SYNC_RUN, move |times| sync.sync(times)),
        Subject::new(ASYNC_RUN, move |times| tasks.tokio(times)),
        Subject::new(ONE_STORE, move |times| one.on_two_os_threads(times)),
        Subject::new(TWO_STORES, move |times| two.on_one_os_thread(times)),
    ])
}

/// Guest threads which call a concurrent host function that is pending once, after it
/// has woken its own waker. What the same takes that is ready at once is taken off.
struct Parks {
    store: Store<()>,
    pending: TypedFunc<i64, ()>,
    ready: TypedFunc<i64, ()>,
}

impl Parks {
    fn new() -> Result<Parks> {
        let engine = Engine::new(Config::new().preemption(Preemption::for_this_host()))?;
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, guest::COUNT_CALLS)?;
        let pending = Func::wrap_concurrent(&mut store, |accessor, ()| {
            Box::pin(async move { accessor.yield_now().await })
        })?;
        let ready = Func::wrap_concurrent(&mut store, |_, ()| Box::pin(async {}))?;
        let mut typed = |host: Func| {
            let run = guest::func_of(&mut store, &module, &[host.into()])?;
            run.typed(&store)
        };
        Ok(Parks {
            pending: typed(pending)?,
            ready: typed(ready)?,
            store,
        })
    }

    fn run(&mut self, times: u64) -> Result<Duration> {
        let mut took = |run: &TypedFunc<i64, ()>| -> Result<Duration> {
            guest::spawn(&mut self.store, run, times as i64)?;
            Ok(guest::finish(&mut self.store)?.0)
        };
        let own = took(&self.ready)?;
        Ok(took(&self.pending)?.saturating_sub(own))
    }
}

/// The same with a host function that borrows the store, in a call on tokio.
struct Pending {
    runtime: Runtime,
    store: Store<()>,
    pending: TypedFunc<i64, ()>,
    ready: TypedFunc<i64, ()>,
}

impl Pending {
    fn new() -> Result<Pending> {
        let runtime = Builder::new_current_thread().build()?;
        let engine = Engine::new(&Config::new())?;
        let module = Module::new(&engine, guest::COUNT_CALLS)?;
        let mut store = Store::new(&engine, ());
        let pending = Func::wrap_async(&mut store, |_, ()| {
            Box::new(async { tokio::task::yield_now().await })
        });
        let ready = Func::wrap_async(&mut store, |_, ()| Box::new(async {}));
        let mut typed = |host: Func| {
            let imports = [host.into()];
            let instance = Instance::new_async(&mut store, &module, &imports);
            let instance = runtime.block_on(instance)?;
            instance.get_typed_func::<i64, ()>(&mut store, "run")
        };
        Ok(Pending {
            pending: typed(pending)?,
            ready: typed(ready)?,
            store,
            runtime,
        })
    }

    fn run(&mut self, times: u64) -> Result<Duration> {
        let mut took = |run: &TypedFunc<i64, ()>| {
            let call = run.call_async(&mut self.store, times as i64);
            timed(|| self.runtime.block_on(call)).map(|(took, ())| took)
        };
        let own = took(&self.ready)?;
        Ok(took(&self.pending)?.saturating_sub(own))
    }
}

/// Two guests that wait for each other by turns.
const PING_PONG: &str = r#"(module
    (import "" "memory" (memory 1 1 shared))
    ;; Waits until the turn is $me, gives it to the other one.
    (func (export "run") (param $me i32) (param $rounds i64)
        (local $turn i32)
        (loop $round
            (block $mine
                (loop $wait
                    (local.set $turn (i32.atomic.load (i32.const 0)))
                    (br_if $mine (i32.eq (local.get $turn) (local.get $me)))
                    (drop (memory.atomic.wait32
                        (i32.const 0) (local.get $turn) (i64.const -1)))
                    (br $wait)))
            (i32.atomic.store (i32.const 0) (i32.xor (local.get $me) (i32.const 1)))
            (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
            (local.set $rounds (i64.sub (local.get $rounds) (i64.const 1)))
            (br_if $round (i64.gt_s (local.get $rounds) (i64.const 0))))))"#;

type Player = TypedFunc<(i32, i64), ()>;

struct PingPong {
    /// Each with one player of either side.
    stores: [(Store<()>, [Player; 2]); 2],
}

impl PingPong {
    fn new(preemption: Preemption) -> Result<PingPong> {
        let mut config = Config::new();
        config.preemption(preemption).shared_memory(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, PING_PONG)?;
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1))?;
        let side = || {
            let mut store = Store::new(&engine, ());
            let mut player = || {
                let run = guest::func_of(&mut store, &module, &[memory.clone().into()])?;
                run.typed(&store)
            };
            let players = [player()?, player()?];
            wasmtime::error::Ok((store, players))
        };
        Ok(PingPong {
            stores: [side()?, side()?],
        })
    }

    /// Half of the `times` for each.
    fn guest_threads(&mut self, times: u64) -> Result<Duration> {
        let (store, players) = &mut self.stores[0];
        for (me, player) in (0..).zip(&*players) {
            guest::spawn(store, player, (me, times.div_ceil(2) as i64))?;
        }
        let start = Instant::now();
        guest::finish(store)?;
        Ok(start.elapsed())
    }

    fn os_threads(&mut self, times: u64, one: bool) -> Result<Duration> {
        let core = one.then(one_core).transpose()?;
        let start = Barrier::new(2);
        let rounds = times.div_ceil(2) as i64;
        thread::scope(|scope| {
            let sides = (0..).zip(&mut self.stores).map(|(me, (store, players))| {
                let (start, core) = (&start, &core);
                scope.spawn(move || {
                    let pinned = core.as_ref().map_or(Ok(()), |c| sched_setaffinity(None, c));
                    start.wait();
                    let begin = Instant::now();
                    players[0].call(store, (me, rounds))?;
                    pinned?;
                    wasmtime::error::Ok(begin.elapsed())
                })
            });
            let sides: Vec<_> = sides.collect();
            let mut took = Duration::ZERO;
            for side in sides {
                let side = side.join();
                took = took.max(side.map_err(|_| wasmtime::format_err!("a player has panicked"))??);
            }
            Ok(took)
        })
    }
}

/// Turns of a loop that take some milliseconds.
const TURNS: i64 = 20_000_000;

/// Guests of 1 ms slices, in a run of each kind.
struct Runs {
    runtime: Runtime,
    store: Store<()>,
    runs: Vec<TypedFunc<i64, ()>>,
}

impl Runs {
    fn new() -> Result<Runs> {
        let engine = Engine::new(Config::new().preemption(Preemption::for_this_host()))?;
        let mut store = Store::new(&engine, ());
        store
            .wasm_threads()
            .set_slice(Slice::Time(Duration::from_millis(1)))?;
        let runs = (0..4).map(|_| guest::typed(&mut store, guest::COUNT));
        Ok(Runs {
            runs: runs.collect::<Result<_>>()?,
            store,
            runtime: Builder::new_current_thread().build()?,
        })
    }

    fn spawn(&mut self, times: u64) -> Result<()> {
        for run in &self.runs {
            guest::spawn(&mut self.store, run, TURNS * times as i64)?;
        }
        Ok(())
    }

    fn sync(&mut self, times: u64) -> Result<Duration> {
        self.spawn(times)?;
        Ok(guest::finish(&mut self.store)?.0)
    }

    fn tokio(&mut self, times: u64) -> Result<Duration> {
        self.spawn(times)?;
        let run = self.store.run_wasm_threads_async(Duration::MAX);
        let (took, run) = timed(|| self.runtime.block_on(run))?;
        guest::ensure_finished(&run)?;
        Ok(took)
    }
}

/// Two stores with the same work.
struct Scaled {
    stores: [Runs; 2],
}

impl Scaled {
    fn new() -> Result<Scaled> {
        Ok(Scaled {
            stores: [Runs::new()?, Runs::new()?],
        })
    }

    fn on_one_os_thread(&mut self, times: u64) -> Result<Duration> {
        let start = Instant::now();
        for runs in &mut self.stores {
            runs.sync(times)?;
        }
        Ok(start.elapsed())
    }

    fn on_two_os_threads(&mut self, times: u64) -> Result<Duration> {
        let start = Instant::now();
        thread::scope(|scope| {
            let sides = self.stores.each_mut();
            let sides = sides.map(|runs| scope.spawn(move || runs.sync(times)));
            for side in sides {
                let side = side.join();
                side.map_err(|_| wasmtime::format_err!("a run has panicked"))??;
            }
            Ok(start.elapsed())
        })
    }
}

/// The share of a CPU, in percent, that `threads` guest threads which sleep for longer than
/// `time` take in a run of that time.
pub fn sleepers(threads: u32, time: Duration) -> Result<f64> {
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    let engine = Engine::new(&config)?;
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap_concurrent("", "host", |accessor, ()| {
        Box::pin(async move { accessor.sleep(Duration::from_secs(3_600)).await })
    })?;
    let module = Module::new(&engine, guest::COUNT_CALLS)?;
    let mut store = Store::new(&engine, ());
    store.wasm_threads().set_max_threads(usize::MAX)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i64, ()>(&mut store, "run")?;
    for _ in 0..threads {
        ThreadOptions::new().spawn_typed(&mut store, &run, 1)?;
    }
    // Until all of them sleep.
    let begun = store.run_wasm_threads_for(time)?;
    ensure!(
        begun.dispatches >= threads.into(),
        "only {} of {threads} threads sleep",
        begun.dispatches
    );
    let cpu = cpu_time();
    let run = store.run_wasm_threads_for(time)?;
    ensure!(
        run.dispatches == 0,
        "{} dispatches of sleepers",
        run.dispatches
    );
    Ok(100.0 * (cpu_time() - cpu).as_secs_f64() / run.elapsed.as_secs_f64())
}
