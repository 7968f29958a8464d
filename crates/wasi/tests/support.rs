//! A guest that calls WASI with what the test wants, and streams that the test moves.

use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, empty, sink};
use wasmtime::preempt::*;
use wasmtime::*;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What takes longer hangs, on any machine.
pub const HANG: Duration = Duration::from_secs(300);

/// What each test is run with.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub source: Preemption,
    pub shared: bool,
}

/// Every preemption source that works here.
pub fn sources() -> Vec<Preemption> {
    let mut sources = vec![Preemption::Fuel, Preemption::Epoch];
    if matches!(Preemption::for_this_host(), Preemption::Signal) {
        sources.push(Preemption::Signal);
    }
    sources
}

/// Each of them, with both kinds of memory.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let both = |source| [false, true].map(|shared| Kind { source, shared });
    sources().into_iter().flat_map(both)
}

/// What guests of `wat` are made from.
pub fn linked(
    source: Preemption,
    wat: &str,
    wasi: &mut WasiCtxBuilder,
) -> (Store<WasiP1Ctx>, Linker<WasiP1Ctx>, Module) {
    let mut config = Config::new();
    config.preemption(source).shared_memory(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::new(&engine);
    preempt_wasi::p1::add_to_linker(&mut linker, |context| context).unwrap();
    let store = Store::new(&engine, wasi.build_p1());
    (store, linker, module)
}

/// Where the guest has its subscriptions, its events, and a count for results.
pub const SUBSCRIPTIONS: u32 = 4096;
pub const EVENTS: u32 = 8192;
pub const COUNT: u32 = 64;
/// What it reads and writes.
pub const BUFFER: u32 = 512;

const CODE: &str = r#"
  (data (i32.const 128) "\00\02\00\00\40\00\00\00") ;; 64 bytes at 512
  (func (export "poll") (param i32 i32 i32 i32) (result i32)
    (call $poll (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "read") (param i32) (result i32)
    (call $read (local.get 0) (i32.const 128) (i32.const 1) (i32.const 64)))
  (func (export "write") (param $fd i32) (param $len i32) (result i32)
    (i32.store (i32.const 132) (local.get $len))
    (call $write (local.get $fd) (i32.const 128) (i32.const 1) (i32.const 64)))
  (func (export "yield") (result i32) (call $yield))
  (func (export "close") (param i32) (result i32) (call $close (local.get 0)))
  (func (export "renumber") (param i32 i32) (result i32)
    (call $renumber (local.get 0) (local.get 1)))
  (func (export "open") (result i32)
    (call $open (i32.const 3) (i32.const 0) (i32.const 700) (i32.const 4) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 80)))
  (data (i32.const 700) "file")
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "load8") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (global $turns (export "turns") (mut i64) (i64.const 0))
  (func (export "spin") (result i32)
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again))
    unreachable)
  (func (export "yielding") (result i32)
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (drop (call $yield))
      (br $again))
    unreachable)
"#;

const IMPORTS: [(&str, &str, &str); 7] = [
    (
        "poll",
        "poll_oneoff",
        "(param i32 i32 i32 i32) (result i32)",
    ),
    ("read", "fd_read", "(param i32 i32 i32 i32) (result i32)"),
    ("write", "fd_write", "(param i32 i32 i32 i32) (result i32)"),
    ("yield", "sched_yield", "(result i32)"),
    ("close", "fd_close", "(param i32) (result i32)"),
    ("renumber", "fd_renumber", "(param i32 i32) (result i32)"),
    (
        "open",
        "path_open",
        "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    ),
];

pub struct Guests {
    pub store: Store<WasiP1Ctx>,
    linker: Linker<WasiP1Ctx>,
    module: Module,
}

impl Guests {
    pub fn new(kind: Kind, subscriptions: &[Subscription]) -> Guests {
        Guests::with(kind, subscriptions, &mut WasiCtxBuilder::new())
    }

    pub fn with(kind: Kind, subscriptions: &[Subscription], wasi: &mut WasiCtxBuilder) -> Guests {
        let mut wat = "(module\n".to_string();
        for (name, import, ty) in IMPORTS {
            writeln!(
                wat,
                r#"(import "wasi_snapshot_preview1" "{import}" (func ${name} {ty}))"#
            )
            .unwrap();
        }
        wat += match kind.shared {
            true => r#"(memory (export "memory") 2 2 shared)"#,
            false => r#"(memory (export "memory") 2)"#,
        };
        let bytes = subscriptions.iter().flat_map(Subscription::bytes);
        let bytes: String = bytes.map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(wat, r#"(data (i32.const {SUBSCRIPTIONS}) "{bytes}")"#).unwrap();
        wat += CODE;
        wat += ")";
        let (mut store, linker, module) = linked(kind.source, &wat, wasi);
        // Guests in these tests do nothing much.
        let slice = match kind.source {
            Preemption::Fuel => Slice::Fuel(100_000),
            _ => Slice::Time(ms(2)),
        };
        store.wasm_threads().set_slice(slice).unwrap();
        Guests {
            store,
            linker,
            module,
        }
    }

    pub fn instance(&mut self) -> Instance {
        self.linker
            .instantiate(&mut self.store, &self.module)
            .unwrap()
    }

    pub fn spawn(&mut self, instance: Instance, name: &str, args: &[i32]) -> ThreadId {
        let func = instance.get_func(&mut self.store, name).unwrap();
        let args: Vec<Val> = args.iter().copied().map(Val::I32).collect();
        self.store.spawn_wasm_thread(func, &args).unwrap()
    }

    /// A thread that polls `count` subscriptions, in an instance of its own.
    pub fn spawn_poll(&mut self, count: usize) -> (Instance, ThreadId) {
        let instance = self.instance();
        let args = poll_args(SUBSCRIPTIONS, EVENTS, count as u32);
        (instance, self.spawn(instance, "poll", &args))
    }

    pub fn run(&mut self, time: Duration) -> RunEnd {
        self.store.run_wasm_threads_for(time).unwrap().end
    }

    /// Runs in pieces until `done`, however long that takes on this machine.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Guests) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert_eq!(self.run(ms(10)), RunEnd::TimeUp);
            assert!(start.elapsed() < HANG);
        }
    }

    fn state(&self, id: ThreadId) -> ThreadState {
        id.info(&self.store).unwrap().state
    }

    pub fn finished(&self, id: ThreadId) -> bool {
        self.state(id) == ThreadState::Finished
    }

    pub fn waits(&self, id: ThreadId) -> bool {
        self.state(id) == ThreadState::Parked
    }

    /// Runs until all have finished.
    #[track_caller]
    pub fn finish(&mut self) {
        assert_eq!(self.run(HANG), RunEnd::AllFinished);
    }

    /// What the thread's function has returned.
    #[track_caller]
    pub fn returned(&mut self, id: ThreadId) -> i32 {
        match id.take_exit(&mut self.store) {
            Some(Exit::Returned(values)) => values[0].unwrap_i32(),
            other => panic!("{other:?}"),
        }
    }

    /// The message that the thread has trapped with.
    #[track_caller]
    pub fn trapped(&mut self, id: ThreadId) -> String {
        match id.take_exit(&mut self.store) {
            Some(Exit::Trapped(error)) => format!("{error:?}"),
            other => panic!("{other:?}"),
        }
    }

    /// Calls a function in a plain call.
    pub fn call(&mut self, instance: Instance, name: &str, args: &[i32]) -> Result<i32> {
        let func = instance.get_func(&mut self.store, name).unwrap();
        let args: Vec<Val> = args.iter().copied().map(Val::I32).collect();
        let mut results = [Val::I32(0)];
        func.call(&mut self.store, &args, &mut results)?;
        Ok(results[0].unwrap_i32())
    }

    pub fn load(&mut self, instance: Instance, address: u32) -> u32 {
        let address = address.cast_signed();
        self.call(instance, "load", &[address])
            .unwrap()
            .cast_unsigned()
    }

    /// What a thread of `instance` has read.
    pub fn read(&mut self, instance: Instance) -> String {
        let len = self.load(instance, COUNT);
        let byte = |i: u32| self.call(instance, "load8", &[(BUFFER + i).cast_signed()]);
        let bytes: Vec<u8> = (0..len).map(byte).map(|b| b.unwrap() as u8).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// The events that there are: userdata, error, type.
    pub fn events(&mut self, instance: Instance) -> Vec<(u32, u32, u32)> {
        let count = self.load(instance, COUNT);
        let mut event = |i: u32| {
            let at = EVENTS + 32 * i;
            let what = self.load(instance, at + 8);
            (self.load(instance, at), what & 0xffff, what >> 16 & 0xff)
        };
        (0..count).map(&mut event).collect()
    }

    pub fn turns(&mut self, instance: Instance) -> i64 {
        let turns = instance.get_global(&mut self.store, "turns").unwrap();
        turns.get(&mut self.store).unwrap_i64()
    }
}

pub fn poll_args(subscriptions: u32, events: u32, count: u32) -> [i32; 4] {
    [subscriptions, events, count, COUNT].map(u32::cast_signed)
}

pub const REALTIME: u32 = 0;
pub const MONOTONIC: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub enum Subscription {
    After(u32, Duration),
    Nanoseconds(u32, u64),
    At(u32, u64),
    Read(u32),
    Write(u32),
    Raw(u8, u32),
}

impl Subscription {
    /// With its type and clock or descriptor, or what is in their place, as userdata.
    fn bytes(&self) -> Vec<u8> {
        let (tag, what, timeout, flags) = match *self {
            Subscription::After(clock, time) => (0, clock, time.as_nanos() as u64, 0u16),
            Subscription::Nanoseconds(clock, nanoseconds) => (0, clock, nanoseconds, 0),
            Subscription::At(clock, time) => (0, clock, time, 1),
            Subscription::Read(fd) => (1, fd, 0, 0),
            Subscription::Write(fd) => (2, fd, 0, 0),
            Subscription::Raw(tag, what) => (tag, what, 0, 0),
        };
        let mut bytes = vec![0; 48];
        bytes[0..4].copy_from_slice(&(u32::from(tag) * 1000).wrapping_add(what).to_le_bytes());
        bytes[8] = tag;
        bytes[16..20].copy_from_slice(&what.to_le_bytes());
        bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }
}

/// A standard stream in the hands of the test.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What can be read, or what was written.
    bytes: VecDeque<u8>,
    /// The input is closed.
    closed: bool,
    /// How much the output takes still.
    takes: usize,
    wakers: Vec<Waker>,
}

impl Pipe {
    fn change(&self, f: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap();
        f(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn type_in(&self, text: &str) {
        self.change(|state| state.bytes.extend(text.bytes()));
    }

    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    pub fn take_more(&self, bytes: usize) {
        self.change(|state| state.takes += bytes);
    }

    pub fn written(&self) -> String {
        let state = self.0.lock().unwrap();
        String::from_utf8(state.bytes.iter().copied().collect()).unwrap()
    }

    async fn until(&self, mut ready: impl FnMut(&State) -> bool) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if ready(&state) {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

struct Reader(Pipe);

struct Writer(Pipe);

impl StdinStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Reader(self.clone()))
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer(self.clone()))
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        let ready = |state: &State| state.closed || !state.bytes.is_empty();
        self.0.until(ready).await
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        self.0.until(|state| state.takes > 0).await
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.0.0.lock().unwrap();
        let size = size.min(state.bytes.len());
        match size {
            0 if state.closed => Err(StreamError::Closed),
            _ => Ok(state.bytes.drain(..size).collect()),
        }
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.0.lock().unwrap();
        assert!(bytes.len() <= state.takes);
        state.takes -= bytes.len();
        state.bytes.extend(bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.0.lock().unwrap().takes)
    }
}

/// A context with these standard streams.
pub fn streams(stdin: &Pipe, stdout: &Pipe) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(stdin.clone()).stdout(stdout.clone());
    wasi
}
