//! The backtrace of a thread that was preempted at many instructions is that of a
//! call which nothing interrupts.

use crate::signal::support::{Job, Outcome, config, run_until, store};
use crate::support::{run_all, spawn_linked};
use std::num::NonZeroUsize;
use wasmtime::*;

/// Each works in many functions, at several depths, before it traps.
const GUESTS: &str = r#"
(module
  (import "" "fail" (func $fail (param i32)))
  (import "" "capture" (func $capture))
  (type $unary (func (param i32) (result i32)))
  (memory 1)
  (table 5 5 funcref)
  (elem (i32.const 1) $even $odd $divide $leaf)

  (func $leaf (param i32) (result i32)
    (i32.xor (local.get 0) (i32.const 0x5a5a)))
  (func $work (param $n i32) (result i32)
    (local $x i32)
    (loop $again
      (local.set $x (i32.add (local.get $x)
        (call_indirect (type $unary) (local.get $n) (i32.const 4))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $fib (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))

  (func $inner (param i32)
    (drop (call $work (local.get 0)))
    unreachable)
  (func $middle (param i32)
    (drop (call $fib (i32.const 18)))
    (call $inner (local.get 0))
    (drop (call $work (i32.const 1))))
  (func (export "nested") (param i32)
    (drop (call $work (local.get 0)))
    (call $middle (local.get 0)))

  ;; Out of bounds at the end of a long way down, with work on the way.
  (func $deep (export "deep") (param $n i32)
    (drop (call $work (i32.const 200)))
    (if (i32.eqz (local.get $n))
      (then (drop (i32.load (i32.const -8)))))
    (call $deep (i32.sub (local.get $n) (i32.const 1)))
    (drop (call $work (i32.const 1))))

  ;; Through a table at each step, in turns, until it divides by zero.
  (func $even (type $unary)
    (drop (call $work (i32.const 300)))
    (call_indirect (type $unary)
      (i32.sub (local.get 0) (i32.const 1))
      (i32.add (i32.const 2) (i32.eqz (local.get 0)))))
  (func $odd (type $unary)
    (drop (call $fib (i32.const 8)))
    (i32.add (i32.const 1) (call_indirect (type $unary)
      (i32.sub (local.get 0) (i32.const 1))
      (i32.const 1))))
  (func $divide (type $unary)
    (i32.div_u (call $work (i32.const 1000)) (i32.add (local.get 0) (i32.const 1))))
  (func (export "table") (param i32)
    (drop (call $even (local.get 0))))
  (func (export "null") (param i32)
    (drop (call $work (local.get 0)))
    (drop (call_indirect (type $unary) (local.get 0) (i32.const 0))))
  (func $overflow (export "overflow") (param i32)
    (drop (call $fib (i32.const 3)))
    (call $overflow (local.get 0))
    (drop (call $work (i32.const 1))))

  (func (export "host") (param i32)
    (drop (call $work (local.get 0)))
    (call $fail (local.get 0)))
  (func $captures (export "captures") (param $n i32)
    (drop (call $work (i32.const 100)))
    (call $capture)
    (if (local.get $n)
      (then (call $captures (i32.sub (local.get $n) (i32.const 1)))))
    (drop (call $work (i32.const 100)))
    (call $capture)))
"#;

/// What backtraces are compared by: functions, and offsets in the module.
type Frames = Vec<(u32, Option<usize>)>;

fn frames(backtrace: &WasmBacktrace) -> Frames {
    let frames = backtrace.frames().iter();
    frames
        .map(|frame| (frame.func_index(), frame.func_offset()))
        .collect()
}

/// What `capture` has seen, and in which thread.
type Captured = Vec<(Option<ThreadId>, Frames)>;

fn guests() -> (Store<Captured>, Linker<Captured>, Module) {
    let mut config = config();
    config.wasm_backtrace_max_frames(NonZeroUsize::new(100_000));
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "fail", |n: i32| -> Result<()> {
            bail!("failed at {n}")
        })
        .unwrap();
    linker
        .func_wrap("", "capture", |mut caller: Caller<'_, Captured>| {
            let frames = frames(&WasmBacktrace::capture(&caller));
            let thread = caller.wasm_threads().current();
            caller.data_mut().push((thread, frames));
        })
        .unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    (store(&engine, Vec::new()), linker, module)
}

/// How deep the backtrace of a job is.
fn depth(job: &Job) -> usize {
    match &job.outcome {
        Outcome::Failed(_, frames) => {
            // That of an overflow is at no instruction of the function's own.
            assert!(frames[1..].iter().all(|(_, offset)| offset.is_some()));
            frames.len()
        }
        outcome => panic!("should have trapped: {outcome:?}"),
    }
}

/// Compares the backtraces of these calls until there were `preemptions`.
fn compare(calls: &[(&str, i32, usize)], preemptions: u64) {
    let (mut store, linker, module) = guests();
    let jobs: Vec<_> = calls
        .iter()
        .map(|(export, n, frames)| {
            let job = Job::new(&mut store, &linker, &module, export, &[Val::I32(*n)]);
            assert!(depth(&job) >= *frames, "{export}: {:?}", job.outcome);
            job
        })
        .collect();
    run_until(&mut store, &jobs, preemptions);
}

const CALLS: [(&str, i32, usize); 6] = [
    ("nested", 20_000, 3),
    ("host", 20_000, 1),
    ("null", 20_000, 1),
    ("deep", 300, 301),
    ("table", 20, 23),
    ("table", 300, 303),
];

#[test]
fn a_trap_has_the_backtrace_of_an_uninterrupted_one() {
    compare(&CALLS, 300);
}

#[test]
fn an_overflow_has_the_backtrace_of_an_uninterrupted_one() {
    compare(&[("overflow", 0, 1_000), ("deep", 100, 101)], 100);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn traps_have_the_backtraces_of_uninterrupted_ones_at_length() {
    compare(&CALLS, 100_000);
    compare(&[("overflow", 0, 1_000), ("deep", 2_000, 2_001)], 20_000);
}

#[test]
fn a_backtrace_that_a_host_function_takes_is_that_of_its_thread() {
    let (mut store, linker, module) = guests();
    let params = [Val::I32(200)];
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let func = instance.get_func(&mut store, "captures").unwrap();
    func.call(&mut store, &params, &mut []).unwrap();
    let expected: Vec<_> = store
        .data_mut()
        .drain(..)
        .map(|(_, frames)| frames)
        .collect();
    assert_eq!(expected.len(), 402);
    assert_eq!(expected[200].len(), 201);

    let ids = [(); 3].map(|()| spawn_linked(&mut store, &linker, &module, "captures", &params));
    let run = run_all(&mut store);
    assert!(run.preemptions > 10, "{run:?}");
    let captured = std::mem::take(store.data_mut());
    for id in ids {
        let own = captured.iter().filter(|(thread, _)| *thread == Some(id));
        assert!(own.map(|(_, frames)| frames).eq(&expected));
    }
    // Threads that are off the CPU are in nobody's backtrace.
    spawn_linked(&mut store, &linker, &module, "deep", &[Val::I32(100_000)]);
    store
        .run_wasm_threads_for(std::time::Duration::from_millis(1))
        .unwrap();
    assert_eq!(WasmBacktrace::force_capture(&store).frames().len(), 0);
}
