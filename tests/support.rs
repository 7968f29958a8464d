//! What the tests share: engines, guests, and ways to look at what they did.

use rustix::mm;
use std::future;
use std::ops::Range;
use std::pin::pin;
use std::process::Command;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

/// Makes a test of each of these functions for each preemption source that this host
/// has, or for those in brackets only.
macro_rules! for_each_preemption {
    ([$($source:ident),* $(,)?] $($test:ident),* $(,)?) => {
        $crate::support::for_each_preemption!(@each [$($source)*] $($test)*);
    };
    (@each $sources:tt $($test:ident)*) => {
        $(mod $test {
            $crate::support::for_each_preemption!(@cases $sources $test);
        })*
    };
    (@cases [$($source:ident)*] $test:ident) => {
        $($crate::support::for_each_preemption!(@case $source $test);)*
    };
    (@case fuel $test:ident) => {
        #[test]
        fn fuel() {
            super::$test(wasmtime::Preemption::Fuel);
        }
    };
    (@case epoch $test:ident) => {
        #[test]
        fn epoch() {
            super::$test(wasmtime::Preemption::Epoch);
        }
    };
    (@case signal $test:ident) => {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        #[test]
        fn signal() {
            super::$test(wasmtime::Preemption::Signal);
        }
    };
    ($($test:ident),* $(,)?) => {
        $crate::support::for_each_preemption!([fuel, epoch, signal] $($test),*);
    };
}
pub(crate) use for_each_preemption;

macro_rules! stateless_functions {
    () => {
        r#"
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else
        (i32.add
          (call $fib (i32.sub (local.get 0) (i32.const 1)))
          (call $fib (i32.sub (local.get 0) (i32.const 2)))))))

  ;; 1 + 2 + ... + n
  (func $sum (export "sum") (param $n i64) (result i64)
    (local $sum i64)
    (loop $again
      (if (i64.eqz (local.get $n)) (then (return (local.get $sum))))
      (local.set $sum (i64.add (local.get $sum) (local.get $n)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br $again))
    unreachable)

  (func (export "sum_then_trap") (param i64)
    (drop (call $sum (local.get 0)))
    unreachable)

  (func (export "answer") (result i32) (i32.const 42))
  (func (export "nothing"))
  (func (export "trap") unreachable)
  (func $overflow (export "overflow") (call $overflow)))
"#
    };
}

/// Guests without imports.
pub const GUESTS: &str = concat!(
    r#"
(module
  ;; Counts its turns for as long as it is let.
  (global $turns (export "turns") (mut i64) (i64.const 0))
  (func (export "spin")
    (loop $again
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (br $again)))
"#,
    stateless_functions!()
);

/// As [`GUESTS`], but that `spin` does not count. Threads may share an instance of it.
pub const STATELESS: &str = concat!(
    r#"
(module
  (func (export "spin") (loop br 0))
"#,
    stateless_functions!()
);

/// Functions that do different things between two checks, and those given.
macro_rules! burners {
    ($more:literal) => {
        concat!(
            r#"
(module
  (import "" "host" (func $host))
  (memory 1)
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "loop") (param i32) (result i32)
    (loop $again
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.load (i32.const 0)))
  (func (export "host_calls") (param i32) (result i32)
    (loop $again
      (call $host)
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.const 0))
"#,
            $more
        )
    };
}
pub(crate) use burners;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn config(preemption: Preemption) -> Config {
    let mut config = Config::new();
    config.preemption(preemption);
    config
}

pub fn engine(preemption: Preemption) -> Engine {
    Engine::new(&config(preemption)).unwrap()
}

/// The sources that this host has.
pub fn sources() -> Vec<Preemption> {
    [vec![Preemption::Fuel], timed_sources()].concat()
}

/// Those whose slices are time, and under which a thread that has the CPU to itself can
/// be interrupted.
pub fn timed_sources() -> Vec<Preemption> {
    match Preemption::for_this_host() {
        Preemption::Signal => vec![Preemption::Epoch, Preemption::Signal],
        _ => vec![Preemption::Epoch],
    }
}

/// Whether guests may refer to objects that are garbage-collected. Signals stop code
/// where such a reference could be in any register, so engines with them have none.
pub fn has_gc(preemption: Preemption) -> bool {
    preemption != Preemption::Signal
}

/// What takes longer hangs. Nothing is as slow as this, on the slowest machine that is
/// busy with something else.
pub const HANG: Duration = Duration::from_secs(300);

/// By how many nanoseconds a slice may be too long on a busy machine, which is no
/// failure: nobody knows how busy it is.
pub const LATE: u64 = 60_000_000_000;

/// A slice which is short enough for guests that run for milliseconds to be
/// preempted often.
pub fn short_slice(preemption: Preemption) -> Slice {
    match preemption {
        Preemption::Fuel => Slice::Fuel(1_000),
        _ => Slice::Time(Duration::from_micros(200)),
    }
}

/// The shortest slice that there is.
pub fn shortest_slice(preemption: Preemption) -> Slice {
    match preemption {
        Preemption::Fuel => Slice::Fuel(1),
        Preemption::Signal => Slice::Time(Duration::from_micros(50)),
        _ => Slice::Time(Duration::from_nanos(1)),
    }
}

/// How many turns of a small loop take several of the shortest slices: those of
/// time are as long as the timer thread needs to wake up.
pub fn some_turns(preemption: Preemption) -> i32 {
    match preemption {
        Preemption::Fuel => 1_000,
        _ => 2_000_000,
    }
}

/// A store with a short slice, and [`GUESTS`].
pub fn guests(preemption: Preemption) -> (Store<()>, Module) {
    let engine = engine(preemption);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    (store, module)
}

/// Spawns `export` in an instance of its own, which imports nothing.
pub fn spawn<T: 'static>(
    store: &mut Store<T>,
    module: &Module,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = Instance::new(&mut *store, module, &[]).unwrap();
    spawn_in(store, instance, export, params)
}

/// An instance of [`STATELESS`].
pub fn stateless<T: 'static>(store: &mut Store<T>) -> Instance {
    let module = Module::new(store.engine(), STATELESS).unwrap();
    Instance::new(store, &module, &[]).unwrap()
}

/// Spawns `export` of `instance`.
pub fn spawn_in<T: 'static>(
    store: &mut Store<T>,
    instance: Instance,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let func = instance.get_func(&mut *store, export).unwrap();
    store.spawn_wasm_thread(func, params).unwrap()
}

/// Spawns `export` in an instance of its own, with the imports that it asks for.
pub fn spawn_linked<T: 'static>(
    store: &mut Store<T>,
    linker: &Linker<T>,
    module: &Module,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = linker.instantiate(&mut *store, module).unwrap();
    spawn_in(store, instance, export, params)
}

/// Spawns a spinner, and returns the counter of its turns too.
pub fn spawn_spinner<T: 'static>(store: &mut Store<T>, guests: &Module) -> (ThreadId, Global) {
    let instance = Instance::new(&mut *store, guests, &[]).unwrap();
    let turns = instance.get_global(&mut *store, "turns").unwrap();
    (spawn_in(store, instance, "spin", &[]), turns)
}

/// Repeats `round` until its threads were preempted `least` times in all: with
/// slices of time that depends on how busy the machine is.
pub fn until_preempted(least: u64, mut round: impl FnMut() -> u64) {
    let start = Instant::now();
    let mut preemptions = 0;
    while preemptions < least {
        preemptions += round();
        assert!(start.elapsed() < HANG, "{preemptions} of {least}");
    }
}

/// Runs in pieces until `done`, however long that takes on this machine.
pub fn run_until<T: 'static>(store: &mut Store<T>, done: impl Fn(&mut Store<T>) -> bool) {
    let start = Instant::now();
    while !done(store) {
        store.run_wasm_threads_for(ms(5)).unwrap();
        assert!(start.elapsed() < HANG);
    }
}

/// Runs until each of these threads waits for something.
pub fn run_until_parked<T: 'static>(store: &mut Store<T>, ids: &[ThreadId]) {
    run_until(store, |store| {
        let state = |id: &ThreadId| id.info(&store).unwrap().state;
        ids.iter().all(|id| state(id) == ThreadState::Parked)
    });
}

/// Runs until all have finished, which they have to.
pub fn run_all<T: 'static>(store: &mut Store<T>) -> RunSummary {
    let summary = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!(summary.end, RunEnd::AllFinished, "{summary:?}");
    summary
}

pub fn finished<T: 'static>(store: &Store<T>, id: ThreadId) -> bool {
    id.info(store).unwrap().state == ThreadState::Finished
}

pub fn stats<T: 'static>(store: &Store<T>, id: ThreadId) -> ThreadStats {
    id.info(store).unwrap().stats
}

/// What a thread returned, which it has to have.
pub fn returned<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Vec<Val> {
    match id.take_exit(&mut *store) {
        Some(Exit::Returned(values)) => values,
        other => panic!("thread {id} should have returned: {other:?}"),
    }
}

/// What a thread trapped with, which it has to have.
pub fn trapped<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Error {
    match id.take_exit(&mut *store) {
        Some(Exit::Trapped(error)) => error,
        other => panic!("thread {id} should have trapped: {other:?}"),
    }
}

pub fn assert_killed<T: 'static>(store: &mut Store<T>, id: ThreadId) {
    let exit = id.take_exit(&mut *store);
    assert!(matches!(exit, Some(Exit::Killed)), "{exit:?}");
}

/// Numbers as their bits, so that they can be compared, `NaN`s included.
pub fn bits(values: &[Val]) -> Vec<u128> {
    let bits = |value: &Val| match value {
        Val::I32(n) => u128::from(*n as u32),
        Val::I64(n) => u128::from(*n as u64),
        Val::F32(n) => u128::from(*n),
        Val::F64(n) => u128::from(*n),
        Val::V128(n) => n.as_u128(),
        Val::FuncRef(r) => u128::from(r.is_some()),
        Val::ExternRef(r) => u128::from(r.is_some()),
        Val::AnyRef(r) => u128::from(r.is_some()),
        other => panic!("cannot be compared: {other:?}"),
    };
    values.iter().map(bits).collect()
}

/// Fails if `body` does not return, instead of hanging.
pub fn must_end<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = body();
        let _ = sender.send(());
        result
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(HANG) {
        panic!("has not ended within {HANG:?}");
    }
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs the test `name` of `module` in a process of its own: for tests of what
/// the whole process has, as OS threads or memory.
pub fn in_own_process(module: &str, name: &str, test: impl FnOnce()) {
    const ALONE: &str = "PREEMPT_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let module = module.split_once("::").unwrap().1;
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--include-ignored"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}: {stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// The id of this OS thread.
pub fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Waits until an OS thread of this process waits for something.
pub fn until_asleep(tid: u32) {
    let status = format!("/proc/self/task/{tid}/status");
    while !std::fs::read_to_string(&status)
        .unwrap()
        .contains("State:\tS")
    {
        thread::yield_now();
    }
}

/// How long this OS thread has been on a CPU.
pub fn os_thread_cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

/// What this process has in memory, in KiB.
pub fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

/// Makes the stacks of an engine, and knows how many there are.
#[derive(Clone, Default)]
pub struct CountedStacks {
    live: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl CountedStacks {
    /// How many stacks there are now.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// How many there ever were.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// An engine which takes its stacks from here.
    pub fn engine(&self, preemption: Preemption) -> Engine {
        let mut config = config(preemption);
        config.with_host_stack(Arc::new(self.clone()));
        Engine::new(&config).unwrap()
    }
}

// SAFETY: the stacks are mappings of their own, page-aligned, with a page below
// them that cannot be accessed, and stay until the `CountedStack` is dropped.
unsafe impl StackCreator for CountedStacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> Result<Box<dyn StackMemory>> {
        const PAGE: usize = 4096;
        let size = size.next_multiple_of(PAGE);
        let prot = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the system's choice, whose
        // first page is then made inaccessible.
        let base = unsafe {
            let base =
                mm::mmap_anonymous(ptr::null_mut(), PAGE + size, prot, mm::MapFlags::PRIVATE)?;
            mm::mprotect(base, PAGE, mm::MprotectFlags::empty())?;
            base.cast::<u8>()
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        self.made.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(CountedStack {
            base: base as usize,
            guard: PAGE,
            size,
            live: self.live.clone(),
        }))
    }
}

struct CountedStack {
    base: usize,
    guard: usize,
    size: usize,
    live: Arc<AtomicUsize>,
}

// SAFETY: see `CountedStacks`.
unsafe impl StackMemory for CountedStack {
    fn top(&self) -> *mut u8 {
        (self.base + self.guard + self.size) as *mut u8
    }

    fn range(&self) -> Range<usize> {
        self.base + self.guard..self.base + self.guard + self.size
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.base as *mut u8..(self.base + self.guard) as *mut u8
    }
}

impl Drop for CountedStack {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: the mapping was made by `new_stack`, and is not used any more.
        unsafe { mm::munmap(self.base as *mut _, self.guard + self.size) }.unwrap();
    }
}

/// The output of a future that is ready.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Is ready after `time`, woken by an OS thread of its own.
pub fn after(time: Duration) -> impl Future<Output = ()> + Send {
    let mut done = None;
    future::poll_fn(move |cx| {
        let done = done.get_or_insert_with(|| {
            let done = Arc::new(AtomicBool::new(false));
            let (set, waker) = (done.clone(), cx.waker().clone());
            thread::spawn(move || {
                thread::sleep(time);
                set.store(true, Ordering::SeqCst);
                waker.wake();
            });
            done
        });
        match done.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
}
