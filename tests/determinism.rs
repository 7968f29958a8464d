//! Under fuel the same guests with the same input and the same slices are
//! interleaved in the same way, always.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// Guests that say what they do, at times that depend on their own numbers.
const TALKERS: &str = r#"
(module
  (import "" "log" (func $log (param i32 i64)))
  (import "" "spawn" (func $spawn (param i32)))
  (func (export "talk") (param $seed i32) (param $depth i32)
    (local $x i64) (local $n i32) (local $rounds i32)
    (local.set $x (i64.extend_i32_u (local.get $seed)))
    (local.set $rounds (i32.const 40))
    (loop $round
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      (local.set $n (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 55))))
      (loop $spin
        (br_if $spin (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
      (call $log (local.get $seed) (local.get $x))
      (if (i32.and (i32.eq (local.get $rounds) (i32.const 20)) (local.get $depth))
        (then (call $spawn (i32.add (local.get $seed) (i32.const 100)))))
      (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    ;; Some trap in the end.
    (if (i32.eqz (i32.rem_u (local.get $seed) (i32.const 3))) (then unreachable))))
"#;

type Event = (u64, i32, i64);

#[derive(Default)]
struct Data {
    log: Vec<Event>,
    talk: Option<Func>,
}

/// What happens, and what each thread used, if each run gets `time`.
fn events(engine: &Engine, slice: u64, time: Duration) -> (Vec<Event>, Vec<ThreadStats>, usize) {
    let module = Module::new(engine, TALKERS).unwrap();
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(
            "",
            "log",
            |mut caller: Caller<'_, Data>, seed: i32, x: i64| {
                let id = caller.wasm_threads().current().unwrap().as_u64();
                caller.data_mut().log.push((id, seed, x));
            },
        )
        .unwrap();
    linker
        .func_wrap("", "spawn", |mut caller: Caller<'_, Data>, seed: i32| {
            let talk = caller.data().talk.unwrap();
            let params = [Val::I32(seed), Val::I32(0)];
            caller.spawn_wasm_thread(talk, &params).map(drop)
        })
        .unwrap();
    let mut store = store_with_slice(engine, Data::default(), Slice::Fuel(slice));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let talk = instance.get_func(&mut store, "talk").unwrap();
    store.data_mut().talk = Some(talk);
    for seed in 0..7 {
        let options = match seed {
            5 => ThreadOptions::new().slice(Slice::Fuel(3 * slice)),
            _ => ThreadOptions::new(),
        };
        let params = [Val::I32(seed), Val::I32(1)];
        options.spawn(&mut store, talk, &params).unwrap();
    }
    let mut runs = 1;
    while store.run_wasm_threads_for(time).unwrap().end == RunEnd::TimeUp {
        runs += 1;
    }
    let stats = store.wasm_threads().iter().map(|thread| {
        let mut stats = thread.stats;
        // These alone are of the clock.
        stats.cpu_time = Duration::ZERO;
        stats.ready_time = Duration::ZERO;
        stats.wall_time = Duration::ZERO;
        stats.longest_wait = Duration::ZERO;
        stats
    });
    let stats = stats.collect();
    (store.into_data().log, stats, runs)
}

#[test]
fn the_same_schedule_every_time() {
    let engine = engine(Preemption::Fuel);
    for slice in [1, 10, 123, 5_000] {
        let (log, stats, _) = events(&engine, slice, Duration::MAX);
        assert_eq!((log.len(), stats.len()), (14 * 40, 14));
        for _ in 0..3 {
            let again = events(&engine, slice, Duration::MAX);
            assert_eq!((&again.0, &again.1), (&log, &stats), "slices of {slice}");
        }
    }
}

#[test]
fn cutting_a_run_into_pieces_does_not_change_the_schedule() {
    let engine = engine(Preemption::Fuel);
    for slice in [3, 123] {
        let (log, stats, _) = events(&engine, slice, Duration::MAX);
        for time in [1, 5_000, 100_000] {
            let (cut, cut_stats, runs) = events(&engine, slice, Duration::from_nanos(time));
            assert!(runs > 3, "{runs}");
            assert_eq!((&cut, &cut_stats), (&log, &stats), "slices of {slice}");
        }
    }
}

#[test]
fn the_schedule_does_not_depend_on_the_engine() {
    let one = events(&engine(Preemption::Fuel), 100, Duration::MAX);
    let mut config = config(Preemption::Fuel);
    config
        .cranelift_opt_level(OptLevel::None)
        .async_stack_size(4 << 20)
        .memory_reservation(0);
    let other = events(&Engine::new(&config).unwrap(), 100, Duration::MAX);
    assert_eq!((one.0, one.1), (other.0, other.1));
}

#[test]
fn another_slice_makes_another_schedule() {
    // Or else the tests above would compare what cannot differ.
    let engine = engine(Preemption::Fuel);
    let (one, ..) = events(&engine, 100, Duration::MAX);
    let (other, ..) = events(&engine, 101, Duration::MAX);
    assert_ne!(one, other);
    let sorted = |mut log: Vec<Event>| {
        // The threads that others spawn have other ids.
        log.iter_mut().for_each(|event| event.0 = 0);
        log.sort();
        log
    };
    assert_eq!(sorted(one), sorted(other));
}
