//! Components as guest threads of one store, and ways to run them.

use crate::p2::component::component;
use crate::support::{HANG, ms, sources};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread as OsThread};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use wasmtime::component::*;
use wasmtime::preempt::*;
use wasmtime::{Config, Engine, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

pub struct State {
    ctx: WasiCtx,
    pub table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }
}

/// What each test is run with.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub source: Preemption,
    pub executor: Executor,
}

/// Every preemption source that works here, with each executor.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let all = |source| executors().map(|executor| Kind { source, executor });
    sources().into_iter().flat_map(all)
}

impl Kind {
    #[track_caller]
    pub fn run<R>(self, test: impl Future<Output = R>) -> R {
        self.executor.run(test)
    }
}

/// The function `run` of a component.
pub type Run = TypedFunc<(u64,), (u32,)>;

pub type Thread = ComponentThreadId<(u32,)>;

pub struct Guests {
    pub store: Store<State>,
    executor: Executor,
    linker: Linker<State>,
}

impl Guests {
    pub fn new(kind: Kind, wasi: &mut WasiCtxBuilder) -> Guests {
        Guests::linked(kind, wasi, preempt_wasi::p2::add_to_linker)
    }

    /// Guests that import what `add_to_linker` adds.
    pub fn linked(
        kind: Kind,
        wasi: &mut WasiCtxBuilder,
        add_to_linker: fn(&mut Linker<State>) -> Result<()>,
    ) -> Guests {
        let mut config = Config::new();
        config.preemption(kind.source);
        // Guests of WASI 0.2 need no asynchronous functions of their own.
        config.wasm_component_model_async(false);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker).unwrap();
        let state = State {
            ctx: wasi.build(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&engine, state);
        let slice = match kind.source {
            Preemption::Fuel => Slice::Fuel(100_000),
            _ => Slice::Time(ms(2)),
        };
        store.wasm_threads().set_slice(slice).unwrap();
        Guests {
            store,
            executor: kind.executor,
            linker,
        }
    }

    pub fn component(&self, code: &str) -> Component {
        Component::new(self.linker.engine(), component(code)).unwrap()
    }

    pub async fn instance(&mut self, component: &Component) -> Instance {
        let instance = self.linker.instantiate_async(&mut self.store, component);
        instance.await.unwrap()
    }

    /// The function of a new instance with this code.
    pub async fn guest(&mut self, code: &str) -> Run {
        let component = self.component(code);
        let instance = self.instance(&component).await;
        instance.get_typed_func(&mut self.store, "run").unwrap()
    }

    /// A thread that calls `guest`.
    pub fn start<P>(&mut self, guest: &TypedFunc<P, (u32,)>, params: P) -> Thread
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
    {
        let options = ThreadOptions::new();
        let thread = options.spawn_component_typed(&mut self.store, guest, params);
        thread.unwrap()
    }

    /// A thread with this code, in an instance of its own.
    pub async fn spawn(&mut self, code: &str) -> Thread {
        let guest = self.guest(code).await;
        self.start(&guest, (0,))
    }

    pub async fn run(&mut self, time: Duration) -> RunSummary {
        let summary = match self.executor {
            Executor::Synchronous => self.store.run_wasm_threads_for(time),
            _ => self.store.run_wasm_threads_async(time).await,
        };
        summary.unwrap()
    }

    /// Runs in pieces until `done`, however long that takes on this machine.
    pub async fn run_until(&mut self, mut done: impl FnMut(&Guests) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let end = self.run(ms(1)).await.end;
            assert!(end == RunEnd::TimeUp || done(self), "{end:?}");
            assert!(start.elapsed() < HANG);
        }
    }

    /// Runs until all have finished.
    pub async fn finish(&mut self) {
        assert_eq!(self.run(HANG).await.end, RunEnd::AllFinished);
    }

    pub fn stats(&self, thread: &Thread) -> ThreadStats {
        thread.info(&self.store).unwrap().stats
    }

    fn state(&self, thread: &Thread) -> ThreadState {
        thread.info(&self.store).unwrap().state
    }

    pub fn finished(&self, thread: &Thread) -> bool {
        self.state(thread) == ThreadState::Finished
    }

    pub fn waits(&self, thread: &Thread) -> bool {
        self.state(thread) == ThreadState::Parked
    }

    /// What the thread's function has returned.
    #[track_caller]
    pub fn returned(&mut self, thread: &Thread) -> u32 {
        match thread.take_exit(&mut self.store) {
            Some(TypedExit::Returned((result,))) => result,
            other => panic!("{other:?}"),
        }
    }

    /// The message that the thread has trapped with.
    #[track_caller]
    pub fn trapped(&mut self, thread: &Thread) -> String {
        match thread.take_exit(&mut self.store) {
            Some(TypedExit::Trapped(error)) => format!("{error:?}"),
            other => panic!("{other:?}"),
        }
    }

    /// What this code returns.
    pub async fn call(&mut self, code: &str) -> u32 {
        let thread = self.spawn(code).await;
        self.finish().await;
        self.returned(&thread)
    }

    /// The message that this code traps with.
    pub async fn trap(&mut self, code: &str) -> String {
        let thread = self.spawn(code).await;
        self.finish().await;
        self.trapped(&thread)
    }

    /// Runs another thread, which sleeps and returns, while all of `waiting` wait.
    pub async fn run_another_beside(&mut self, waiting: &[&Thread]) {
        let other = self.spawn(SLEEP_SHORTLY).await;
        self.run_until(|guests| {
            let ended = waiting.iter().any(|thread| guests.finished(thread));
            assert!(!ended, "does not wait");
            guests.finished(&other) && waiting.iter().all(|thread| guests.waits(thread))
        })
        .await;
        assert_eq!(self.returned(&other), 1);
    }

    /// Has `waiting` wait beside another thread. Then makes ready what `waiting` waits for,
    /// and returns what it returns.
    pub async fn wait_beside_another(&mut self, waiting: &str, make_ready: impl FnOnce()) -> u32 {
        let waiting = self.spawn(waiting).await;
        self.run_another_beside(&[&waiting]).await;
        make_ready();
        self.finish().await;
        self.returned(&waiting)
    }
}

/// Returns 1.
pub const SLEEP_SHORTLY: &str = "
    (call $block (call $sleep (i64.const 1_000_000)))
    (i32.const 1)";

/// Never returns, during a test.
pub const SLEEP_LONG: &str = "
    (call $block (call $sleep (i64.const 3_600_000_000_000)))
    (i32.const 1)";

/// Returns how many bytes it has read, of 16 at most.
pub const READ: &str = "
    (call $blocking-read (call $stdin) (i64.const 16) (i32.const 0))
    (call $expect)
    (i32.load (i32.const 8))";

/// Who runs the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Executor {
    /// Runs are asynchronous, and there is no runtime of tokio's on the thread.
    NoRuntime,
    CurrentThread,
    MultiThread,
    /// Runs block the OS thread.
    Synchronous,
}

pub fn executors() -> [Executor; 4] {
    [
        Executor::NoRuntime,
        Executor::CurrentThread,
        Executor::MultiThread,
        Executor::Synchronous,
    ]
}

impl Executor {
    #[track_caller]
    pub fn run<R>(self, future: impl Future<Output = R>) -> R {
        let mut builder = match self {
            Executor::NoRuntime | Executor::Synchronous => {
                let done = Polling::new(future).poll_for(HANG, HANG);
                return done.expect("hangs");
            }
            Executor::CurrentThread => Builder::new_current_thread(),
            Executor::MultiThread => Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().build().unwrap();
        let done = runtime.block_on(async { tokio::time::timeout(HANG, future).await });
        done.expect("hangs")
    }
}

/// A future that is polled only when it was woken.
pub struct Polling<F: Future> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

struct Woken {
    woken: AtomicBool,
    thread: OsThread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl<F: Future> Polling<F> {
    pub fn new(future: F) -> Self {
        let woken = Woken {
            woken: AtomicBool::new(true),
            thread: thread::current(),
        };
        Polling {
            future: Box::pin(future),
            woken: Arc::new(woken),
        }
    }

    /// Returns `None` if it is not woken for this long.
    pub fn poll_for(&mut self, idle: Duration, limit: Duration) -> Option<F::Output> {
        let start = Instant::now();
        let waker = Waker::from(self.woken.clone());
        loop {
            let last = Instant::now();
            while !self.woken.woken.swap(false, Ordering::Acquire) {
                if last.elapsed() >= idle {
                    return None;
                }
                thread::park_timeout(idle);
            }
            assert!(start.elapsed() < limit, "is never idle");
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(result) = polled {
                return Some(result);
            }
        }
    }
}
