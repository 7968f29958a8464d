//! What the tests of `Preemption::Signal` share: jobs with a known outcome, and a
//! runner that preempts them until it has been often enough.

pub use crate::support::*;

pub use std::time::{Duration, Instant};
pub use wasmtime::*;

pub fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

pub fn config() -> Config {
    crate::support::config(Preemption::Signal)
}

pub fn engine() -> Engine {
    crate::support::engine(Preemption::Signal)
}

/// A store with the shortest slice.
pub fn store<T: 'static>(engine: &Engine, data: T) -> Store<T> {
    store_with_slice(engine, data, shortest_slice(Preemption::Signal))
}

/// Guests of every kind, each with one number as its size and one as its result.
pub const MIXED: &str = r#"
(module
  (import "" "add_one" (func $add_one (param i64) (result i64)))
  (memory 1)
  (table 4 4 funcref)
  (elem (i32.const 0) func $a $b $c)
  (type $step (func (param i64) (result i64)))

  (func $fib (export "recursive") (param i64) (result i64)
    (if (result i64) (i64.lt_u (local.get 0) (i64.const 2))
      (then (local.get 0))
      (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
                     (call $fib (i64.sub (local.get 0) (i64.const 2)))))))

  (func (export "simd") (param $n i64) (result i64) (local $v v128) (local $w v128)
    (local.set $v (v128.const i32x4 1 2 3 4))
    (loop $again
      (local.set $v (i32x4.add (i16x8.mul (local.get $v) (v128.const i32x4 5 5 5 5)) (local.get $w)))
      (local.set $w (i64x2.add (i32x4.shr_u (local.get $v) (i32.const 3)) (i64x2.splat (local.get $n))))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (i64.add (i64x2.extract_lane 0 (local.get $v)) (i64x2.extract_lane 1 (local.get $w))))

  ;; Writes and reads all over a page.
  (func $memory (export "memory") (param $n i64) (result i64) (local $at i32) (local $x i64)
    (loop $again
      (local.set $at (i32.and (i32.add (i32.mul (local.get $at) (i32.const 5)) (i32.const 9))
        (i32.const 0xfff8)))
      (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 1))
        (i64.load (i32.and (i32.mul (local.get $at) (i32.const 40)) (i32.const 0xfff8)))))
      (i64.store (local.get $at) (i64.add (local.get $x) (local.get $n)))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $x))

  (func $a (param i64) (result i64) (i64.mul (local.get 0) (i64.const 31)))
  (func $b (param i64) (result i64) (i64.rotl (local.get 0) (i64.const 11)))
  (func $c (param i64) (result i64) (return_call $a (i64.sub (local.get 0) (i64.const 3))))
  (func (export "table") (param $n i64) (result i64) (local $x i64)
    (local.set $x (i64.const 1))
    (loop $again
      (local.set $x (i64.add (local.get $n) (call_indirect (type $step) (local.get $x)
        (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 3))))))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $x))

  (func (export "host") (param $n i64) (result i64) (local $x i64)
    (loop $again
      (local.set $x (i64.mul (call $add_one (local.get $x)) (i64.const 3)))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $x))

  (func (export "bulk") (param $n i64) (result i64)
    (loop $again
      (memory.fill (i32.const 0) (i32.wrap_i64 (local.get $n)) (i32.const 30000))
      (memory.copy (i32.const 20000) (i32.const 10000) (i32.const 30000))
      (drop (memory.grow (i32.const 0)))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (i64.load (i32.const 40000)))

  ;; Work, and then a trap of each kind.
  (func (export "unreachable") (param $n i64) (result i64)
    (drop (call $memory (local.get $n))) unreachable)
  (func (export "out_of_bounds") (param $n i64) (result i64)
    (i64.load (i32.or (i32.const 0x10000) (i32.wrap_i64 (call $memory (local.get $n))))))
  (func (export "divide") (param $n i64) (result i64) (local $x i64)
    (i64.div_u (local.get $n)
      (i64.sub (local.tee $x (call $memory (local.get $n))) (local.get $x))))
  (func $overflow (export "overflow") (param $n i64) (result i64)
    (drop (call $fib (i64.const 2)))
    (i64.add (i64.const 1) (call $overflow (i64.add (local.get $n) (i64.const 1)))))
  (func (export "null") (param $n i64) (result i64)
    (call_indirect (type $step) (call $memory (local.get $n)) (i32.const 3)))

  (func (export "spin") (loop br 0)))"#;

/// What to call of [`MIXED`], and sizes that take a millisecond or so.
pub const MIX: &[(&str, i64)] = &[
    ("recursive", 21),
    ("simd", 500_000),
    ("memory", 300_000),
    ("table", 150_000),
    ("host", 10_000),
    ("bulk", 300),
    ("unreachable", 200_000),
    ("out_of_bounds", 200_000),
    ("divide", 100_001),
    ("overflow", 0),
    ("null", 200_000),
];

pub fn mixed(engine: &Engine) -> Module {
    Module::new(engine, MIXED).unwrap()
}

/// With what [`MIXED`] imports.
pub fn linker<T: 'static>(engine: &Engine) -> Linker<T> {
    let mut linker = Linker::new(engine);
    let add_one = |n: i64| n.wrapping_add(1);
    linker.func_wrap("", "add_one", add_one).unwrap();
    linker
}

/// How a call ended: its results, or its trap and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Returned(Vec<u128>),
    Failed(String, Vec<(u32, Option<usize>)>),
}

impl Outcome {
    pub fn of_error(error: &Error) -> Outcome {
        let frames = match error.downcast_ref::<WasmBacktrace>() {
            Some(backtrace) => backtrace.frames(),
            None => &[],
        };
        let frames = frames
            .iter()
            .map(|frame| (frame.func_index(), frame.func_offset()))
            .collect();
        Outcome::Failed(error.root_cause().to_string(), frames)
    }

    /// Of a plain call, which nothing interrupts.
    pub fn of_call<T: 'static>(store: &mut Store<T>, func: Func, params: &[Val]) -> Outcome {
        let mut results = vec![Val::I32(0); func.ty(&*store).results().len()];
        match func.call(&mut *store, params, &mut results) {
            Ok(()) => Outcome::Returned(bits(&results)),
            Err(error) => Outcome::of_error(&error),
        }
    }

    pub fn of_thread<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Outcome {
        match id.take_exit(&mut *store) {
            Some(Exit::Returned(values)) => Outcome::Returned(bits(&values)),
            Some(Exit::Trapped(error)) => Outcome::of_error(&error),
            other => panic!("thread {id} should have ended by itself: {other:?}"),
        }
    }
}

/// A call which always ends in the same way. Its instance is its own.
pub struct Job {
    pub func: Func,
    pub params: Vec<Val>,
    pub outcome: Outcome,
}

impl Job {
    /// Finds out the outcome by a plain call of an instance that is thrown away.
    pub fn new<T: 'static>(
        store: &mut Store<T>,
        linker: &Linker<T>,
        module: &Module,
        export: &str,
        params: &[Val],
    ) -> Job {
        let [reference, func] = [(); 2].map(|()| {
            let instance = linker.instantiate(&mut *store, module).unwrap();
            instance.get_func(&mut *store, export).unwrap()
        });
        Job {
            func,
            params: params.to_vec(),
            outcome: Outcome::of_call(store, reference, params),
        }
    }
}

/// Runs all `jobs` side by side. Every outcome has to be right.
pub fn run_once<T: 'static>(store: &mut Store<T>, jobs: &[Job]) -> RunSummary {
    let ids: Vec<_> = jobs
        .iter()
        .map(|job| store.spawn_wasm_thread(job.func, &job.params).unwrap())
        .collect();
    let summary = run_all(store);
    for (job, id) in jobs.iter().zip(ids) {
        assert_eq!(Outcome::of_thread(store, id), job.outcome);
    }
    summary
}

/// Runs all `jobs` side by side, again and again, until there were `preemptions`.
/// For jobs that leave their instances as they were. Returns how many preemptions
/// there were.
pub fn run_until<T: 'static>(store: &mut Store<T>, jobs: &[Job], preemptions: u64) -> u64 {
    let mut total = 0;
    while total < preemptions {
        total += run_once(store, jobs).preemptions;
    }
    total
}
