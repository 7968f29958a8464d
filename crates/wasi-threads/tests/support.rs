//! What the tests share: stores, guests, and ways to look at what they did.

use preempt_wasi_threads::{Outcome, Process, ProcessOptions, Program};
use std::path::Path;
use std::time::{Duration, Instant};
use wasmtime::*;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(120);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs until that is so, however long it takes on this machine.
pub fn run_until<T: 'static>(store: &mut Store<T>, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        store.run_wasm_threads_for(ms(5)).unwrap();
        assert!(start.elapsed() < LONG);
    }
}

/// What can end slices on this machine.
pub fn sources() -> Vec<Preemption> {
    let mut sources = vec![Preemption::Fuel, Preemption::Epoch];
    if Preemption::for_this_host() != Preemption::Epoch {
        sources.push(Preemption::for_this_host());
    }
    sources
}

pub fn engine(source: Preemption) -> Engine {
    let mut config = Config::new();
    config.preemption(source).shared_memory(true);
    Engine::new(&config).unwrap()
}

/// A slice after which guests that run for milliseconds are preempted often.
pub fn short_slice(source: Preemption) -> Slice {
    match source {
        Preemption::Fuel => Slice::Fuel(5_000),
        _ => Slice::Time(Duration::from_micros(200)),
    }
}

/// The module of a program in `fixtures/threads`.
pub fn fixture(engine: &Engine, name: &str) -> Module {
    Module::from_file(engine, fixtures().join(name).with_extension("wasm")).unwrap()
}

pub fn fixtures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/threads"
    ))
}

/// The data of a store: a context of WASI for each process.
#[derive(Default)]
pub struct Host(Vec<WasiP1Ctx>);

/// A process, and what it prints.
pub struct Guest {
    pub process: Process,
    stdout: MemoryOutputPipe,
}

impl Guest {
    pub fn stdout(&self) -> String {
        String::from_utf8(self.stdout.contents().to_vec()).unwrap()
    }

    pub fn last_line(&self) -> String {
        self.stdout().lines().last().unwrap_or_default().to_string()
    }

    /// How it was ended, which it has to be.
    pub fn outcome(&self) -> std::sync::Arc<Outcome> {
        let outcome = self.process.outcome();
        outcome.unwrap_or_else(|| panic!("{:?}: {}", self.process, self.stdout()))
    }

    /// Its exit status; 0 if `_start` has returned.
    pub fn status(&self) -> i32 {
        let outcome = self.outcome();
        match (&outcome.exit, outcome.error().map(Error::downcast_ref)) {
            (Exit::Returned(_), _) => 0,
            (_, Some(Some(I32Exit(status)))) => *status,
            _ => panic!("{outcome:?}: {}", self.stdout()),
        }
    }

    /// Its last line and its status, after all of its threads have ended.
    pub fn end(&self) -> (String, i32) {
        assert!(self.process.has_ended(), "{:?}", self.process);
        assert_eq!(self.process.threads(), []);
        (self.last_line(), self.status())
    }
}

pub fn store(engine: &Engine) -> Store<Host> {
    Store::new(engine, Host::default())
}

/// A process of `module`, with WASI.
pub fn spawn(
    store: &mut Store<Host>,
    module: &Module,
    args: &[&str],
    options: ProcessOptions,
) -> Guest {
    let stdout = MemoryOutputPipe::new(1 << 20);
    let context = WasiCtxBuilder::new()
        .arg("guest")
        .args(args)
        .stdout(stdout.clone())
        .build_p1();
    let index = store.data().0.len();
    store.data_mut().0.push(context);
    let mut linker = Linker::new(store.engine());
    p1::add_to_linker_sync(&mut linker, move |host: &mut Host| &mut host.0[index]).unwrap();
    let program = Program::new(module, &linker).unwrap();
    let process = program.spawn(store, options).unwrap();
    Guest { process, stdout }
}

/// Runs one program in a store of its own, for as long as it takes.
pub fn run(engine: &Engine, module: &Module, args: &[&str], slice: Slice) -> Guest {
    let mut store = store(engine);
    store.wasm_threads().set_slice(slice).unwrap();
    let guest = spawn(&mut store, module, args, ProcessOptions::new());
    let run = store.run_wasm_threads_for(LONG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{run:?}: {}", guest.stdout());
    assert_eq!(store.wasm_threads().iter().count(), 0);
    guest
}

/// A process of a module that imports nothing else.
pub fn spawn_wat(store: &mut Store<()>, wat: &str, options: ProcessOptions) -> Process {
    let module = Module::new(store.engine(), wat).unwrap();
    let program = Program::new(&module, &Linker::new(store.engine())).unwrap();
    program.spawn(store, options).unwrap()
}

/// What is in a memory, as 32 bits, without changing it.
pub fn word(process: &Process, at: u64) -> u32 {
    // Safe Rust cannot look into a shared memory, but can compare.
    let memory = process.memory().unwrap();
    let is = |n: u32| memory.atomic_wait32(at, n, Some(Duration::ZERO)).unwrap();
    let found = (0..100_000).find(|n| is(*n) != WaitResult::Mismatch);
    found.unwrap_or_else(|| panic!("a large number at {at:#x}"))
}
