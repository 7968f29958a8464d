//! Fuel as a budget beside slices of time: what a thread used is exact once it has
//! returned, and nothing of the budget is lost.

use crate::signal::support::{store, us};
use crate::support::*;
use wasmtime::*;

/// How much of the budget a suspended thread may hold, as `Preemption::Signal` says.
const HELD: u64 = 1_000_000;

const BURNERS: &str = burners!(
    r#"
  (table 2 2 funcref)
  (elem (i32.const 1) $fib)
  (func (export "table") (param i32) (result i32)
    (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum)
        (call_indirect (param i32) (result i32)
          (i32.and (local.get 0) (i32.const 7)) (i32.const 1))))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $sum))
  (func (export "bulk") (param i32) (result i32)
    (loop $again
      (memory.fill (i32.const 100) (local.get 0) (i32.const 20000))
      (memory.copy (i32.const 30000) (i32.const 100) (i32.const 20000))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.load8_u (i32.const 40000))))
"#
);

type Call = (&'static str, i32);

/// Long enough for many slices.
const CALLS: [Call; 6] = [
    ("fib", 25),
    ("loop", 4_000_000),
    ("host_calls", 50_000),
    ("table", 100_000),
    ("bulk", 5_000),
    ("fib", 1),
];

fn metered() -> Engine {
    Engine::new(&config_with_fuel(Preemption::Signal)).unwrap()
}

/// Runs `calls` beside each other in slices that `slice` makes, from a budget that
/// more than suffices, `run` at a time. Returns how many preemptions there were.
fn meter(calls: &[Call], mut slice: impl FnMut() -> Slice, run: std::time::Duration) -> u64 {
    const BUDGET: u64 = 1 << 40;
    let engine = metered();
    let module = Module::new(&engine, BURNERS).unwrap();
    let linker = burners_linker(&engine);
    let mut store = store(&engine, ());
    store.set_fuel(BUDGET).unwrap();
    let ids: Vec<_> = calls
        .iter()
        .map(|(export, n)| spawn_linked(&mut store, &linker, &module, export, &[Val::I32(*n)]))
        .collect();
    let before = store.get_fuel().unwrap();
    let mut preemptions = 0;
    loop {
        store.wasm_threads().set_slice(slice()).unwrap();
        let summary = store.run_wasm_threads_for(run).unwrap();
        preemptions += summary.preemptions;
        if summary.end == RunEnd::AllFinished {
            break;
        }
    }
    let used: Vec<_> = ids
        .iter()
        .map(|id| stats(&store, *id).fuel_consumed)
        .collect();
    let expected: Vec<_> = calls
        .iter()
        .map(|call| plain_fuel(BURNERS, *call))
        .collect();
    assert_eq!(used, expected);
    assert_eq!(before - store.get_fuel().unwrap(), used.iter().sum::<u64>());
    preemptions
}

#[test]
fn a_thread_that_returned_used_as_much_as_a_plain_call() {
    let shortest = || Slice::Time(us(50));
    let all = meter(&CALLS, shortest, ms(60_000));
    assert!(all > 20, "{all}");
    // Twice the same ones, the other way round, and one alone.
    let mut twice = [CALLS, CALLS].concat();
    twice.reverse();
    assert!(meter(&twice, shortest, ms(60_000)) > 40);
    meter(&[("loop", 2_000_000)], shortest, ms(1));
    // And however the slices and the runs fall.
    let mut random = Random::new(7);
    let mut slice = move || Slice::Time(us(50 + random.below(150)));
    assert!(meter(&CALLS, &mut slice, us(700)) > 20);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn threads_that_returned_used_as_much_as_plain_calls_at_length() {
    let mut random = Random::new(11);
    let mut preemptions = 0;
    while preemptions < 100_000 {
        let mut calls = Vec::new();
        for _ in 0..8 {
            let (export, n) = CALLS[random.below(CALLS.len() as u64) as usize];
            calls.push((export, n));
        }
        let mut slices = Random::new(random.next());
        let slice = move || Slice::Time(us(50 + slices.below(100)));
        preemptions += meter(&calls, slice, us(500 + random.below(20_000)));
    }
}

/// A store with a budget, and [`GUESTS`].
fn budget(fuel: u64) -> (Store<()>, Module) {
    let engine = metered();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store(&engine, ());
    store.set_fuel(fuel).unwrap();
    (store, module)
}

/// What a check lets pass: a function or a turn of a loop.
const ONE_TURN: u64 = 20;

#[test]
fn threads_end_when_the_budget_is_gone() {
    for fuel in [100_000, 10_000_000, 100_000_000] {
        let (mut store, module) = budget(fuel);
        let ids = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
        let run = run_all(&mut store);
        assert_eq!(run.finished, 3);
        assert_eq!(store.get_fuel().unwrap(), 0);
        let used: u64 = ids.iter().map(|id| stats(&store, *id).fuel_consumed).sum();
        assert!(
            (fuel..fuel + 3 * ONE_TURN).contains(&used),
            "{used} of {fuel}"
        );
        for id in ids {
            assert_out_of_fuel(&mut store, id);
        }
    }
}

#[test]
fn a_thread_that_fits_into_the_budget_returns() {
    let (mut ample, module) = budget(1 << 40);
    let id = spawn(&mut ample, &module, "sum", &[Val::I64(2_000_000)]);
    run_all(&mut ample);
    let need = stats(&ample, id).fuel_consumed;
    assert!(need > 5 * HELD, "{need}");

    let (mut enough, module) = budget(need);
    let id = spawn(&mut enough, &module, "sum", &[Val::I64(2_000_000)]);
    run_all(&mut enough);
    assert_eq!(bits(&returned(&mut enough, id)), [2_000_001_000_000]);
    assert_eq!(enough.get_fuel().unwrap(), 0);
}

#[test]
fn what_suspended_threads_held_comes_back() {
    const BUDGET: u64 = 1 << 40;
    let (mut store, module) = budget(BUDGET);
    let mut threads = Vec::new();
    for round in 1..=5 {
        for _ in 0..round {
            threads.push(spawn_spinner(&mut store, &module));
            threads.push(spawn_spinner(&mut store, &module));
        }
        let living = 2 * round;
        until_preempted(6, || {
            store.run_wasm_threads_for(ms(20)).unwrap().preemptions
        });
        let used = |store: &Store<()>| {
            let used = threads
                .iter()
                .map(|(id, _)| stats(store, *id).fuel_consumed);
            used.sum::<u64>()
        };
        let held = BUDGET - used(&store) - store.get_fuel().unwrap();
        assert!(held > 0 && held <= living * HELD, "{held}");
        assert_eq!(store.shutdown_wasm_threads() as u64, living);
        // To the last unit, as what was not counted was not taken either.
        assert_eq!(store.get_fuel().unwrap() + used(&store), BUDGET);
    }
}

#[test]
fn a_killed_thread_is_charged_but_for_what_it_held() {
    // What a turn of the spinner costs.
    let (mut store, module) = budget(HELD);
    let (id, turns) = spawn_spinner(&mut store, &module);
    run_all(&mut store);
    assert_out_of_fuel(&mut store, id);
    let per_turn = HELD as f64 / turns.get(&mut store).unwrap_i64() as f64;

    let (mut store, module) = budget(1 << 40);
    let threads = [(); 3].map(|()| spawn_spinner(&mut store, &module));
    store.run_wasm_threads_for(ms(100)).unwrap();
    store.shutdown_wasm_threads();
    for (id, turns) in threads {
        let used = (turns.get(&mut store).unwrap_i64() as f64 * per_turn) as u64;
        let charged = stats(&store, id).fuel_consumed;
        assert!(used > 2 * HELD, "{used}");
        assert!(
            charged <= used + used / 1_000 + ONE_TURN,
            "{charged} for {used}"
        );
        assert!(
            charged + HELD + used / 1_000 + ONE_TURN >= used,
            "{charged} for {used}"
        );
    }
}

#[test]
fn adding_fuel_in_a_host_function_changes_the_budget_and_not_the_count() {
    const ADDED: u64 = 777;
    let engine = metered();
    let module = Module::new(&engine, BURNERS).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, ()>| {
            let fuel = caller.get_fuel().unwrap() + ADDED;
            caller.set_fuel(fuel).unwrap();
            assert_eq!(caller.get_fuel().unwrap(), fuel);
        })
        .unwrap();
    let mut store = store(&engine, ());
    store.set_fuel(1 << 40).unwrap();
    let calls = [("host_calls", 50_000), ("fib", 25), ("loop", 4_000_000)];
    let ids =
        calls.map(|(export, n)| spawn_linked(&mut store, &linker, &module, export, &[Val::I32(n)]));
    let run = run_all(&mut store);
    assert!(run.preemptions > 20, "{run:?}");
    for (id, call) in ids.into_iter().zip(calls) {
        assert_eq!(
            stats(&store, id).fuel_consumed,
            plain_fuel(BURNERS, call),
            "{call:?}"
        );
    }
    let used: u64 = calls.iter().map(|call| plain_fuel(BURNERS, *call)).sum();
    let added = 50_000 * ADDED;
    assert_eq!(store.get_fuel().unwrap(), (1 << 40) + added - used);
}

#[test]
fn a_host_function_can_end_the_budget() {
    let engine = metered();
    let wat = r#"(module
        (import "" "host" (func $host))
        (func (export "run") (call $host) (loop br 0)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let guests = Module::new(&engine, GUESTS).unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, ()>| {
            caller.set_fuel(0).unwrap();
        })
        .unwrap();
    let mut store = store(&engine, ());
    store.set_fuel(u64::MAX).unwrap();
    let spinner = spawn_spinner(&mut store, &guests).0;
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    run_all(&mut store);
    // At most what it held when the rest was taken.
    let used = stats(&store, spinner).fuel_consumed;
    assert!(used > 0);
    assert_eq!(store.get_fuel().unwrap(), 0);
    for id in [spinner, id] {
        assert_out_of_fuel(&mut store, id);
    }
}

#[test]
fn the_largest_budget_survives_what_threads_hold() {
    let (mut store, module) = budget(u64::MAX);
    let threads = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
    store.run_wasm_threads_for(ms(10)).unwrap();
    // More than there can be, with what the three hold.
    store.set_fuel(u64::MAX).unwrap();
    let before = threads.map(|id| stats(&store, id).fuel_consumed);
    store.run_wasm_threads_for(ms(10)).unwrap();
    store.shutdown_wasm_threads();
    let used: u64 = threads
        .iter()
        .zip(before)
        .map(|(id, before)| stats(&store, *id).fuel_consumed - before)
        .sum();
    let left = store.get_fuel().unwrap();
    assert!(left >= u64::MAX - used - 3 * HELD, "{left}");
}

#[test]
fn a_yield_interval_is_kept_after_the_first_yield() {
    const INTERVAL: u64 = 100_000;
    let (mut store, module) = budget(u64::MAX);
    store
        .wasm_threads()
        .set_slice(Slice::Time(ms(60_000)))
        .unwrap();
    let threads = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    store.fuel_async_yield_interval(Some(INTERVAL)).unwrap();
    let run = store.run_wasm_threads_for(ms(50)).unwrap();
    assert!(run.dispatches > 10, "{run:?}");
    for id in threads {
        let stats = stats(&store, id);
        let yields = stats.dispatches - 1;
        assert!(stats.fuel_consumed >= yields * INTERVAL, "{stats:?}");
    }
}
