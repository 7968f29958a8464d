//! The store's fuel is a budget for all its threads, and nobody gets more.

use crate::support::*;
use wasmtime::*;

/// An engine with a budget of fuel.
fn store(preemption: Preemption, budget: u64) -> (Store<()>, Module) {
    let engine = Engine::new(&config_with_fuel(preemption)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(budget).unwrap();
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    (store, module)
}

for_each_preemption!(
    threads_end_when_the_budget_is_gone,
    a_thread_that_fits_into_the_budget_returns,
    without_any_fuel_no_thread_runs,
    a_store_can_be_refuelled_between_runs,
    a_host_function_can_end_the_budget,
    a_host_function_can_cut_the_budget_at_its_callers_expense,
);

fn threads_end_when_the_budget_is_gone(preemption: Preemption) {
    let (mut store, module) = store(preemption, 100_000);
    let ids = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
    let run = run_all(&mut store);
    assert_eq!(run.finished, 3);
    assert_eq!(store.get_fuel().unwrap(), 0);
    let used: u64 = ids.iter().map(|id| stats(&store, *id).fuel_consumed).sum();
    assert!((100_000..100_030).contains(&used), "{used}");
    for id in ids {
        assert_out_of_fuel(&mut store, id);
    }
}

fn a_thread_that_fits_into_the_budget_returns(preemption: Preemption) {
    // What it needs in all, and one unit less than is enough for it to end.
    let (mut ample, module) = store(preemption, 1_000_000);
    let id = spawn(&mut ample, &module, "sum", &[Val::I64(1_000)]);
    run_all(&mut ample);
    let need = stats(&ample, id).fuel_consumed;
    assert_eq!(ample.get_fuel().unwrap(), 1_000_000 - need);

    let (mut enough, module) = store(preemption, need);
    let id = spawn(&mut enough, &module, "sum", &[Val::I64(1_000)]);
    run_all(&mut enough);
    assert_eq!(bits(&returned(&mut enough, id)), [500_500]);
    assert_eq!(enough.get_fuel().unwrap(), 0);

    let (mut scarce, module) = store(preemption, need / 2);
    let id = spawn(&mut scarce, &module, "sum", &[Val::I64(1_000)]);
    run_all(&mut scarce);
    assert_out_of_fuel(&mut scarce, id);
}

fn without_any_fuel_no_thread_runs(preemption: Preemption) {
    let (mut store, module) = store(preemption, 0);
    let id = spawn(&mut store, &module, "fib", &[Val::I32(3)]);
    run_all(&mut store);
    assert_out_of_fuel(&mut store, id);
}

fn a_store_can_be_refuelled_between_runs(preemption: Preemption) {
    let (mut store, module) = store(preemption, 10_000);
    let first = spawn_spinner(&mut store, &module).0;
    run_all(&mut store);
    assert_out_of_fuel(&mut store, first);

    store.set_fuel(1_000_000).unwrap();
    let second = spawn(&mut store, &module, "sum", &[Val::I64(1_000)]);
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, second)), [500_500]);
}

/// Spawns a thread which calls `host` and spins then, beside a spinner.
fn beside_a_spinner(
    preemption: Preemption,
    budget: u64,
    host: impl Fn(Caller<'_, ()>) + Send + Sync + 'static,
) -> (Store<()>, [ThreadId; 2]) {
    let (mut store, guests) = store(preemption, budget);
    let engine = store.engine().clone();
    let module = Module::new(&engine, CALLS_THEN_SPINS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "host", host).unwrap();
    let spinner = spawn_spinner(&mut store, &guests).0;
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    (store, [spinner, id])
}

fn a_host_function_can_end_the_budget(preemption: Preemption) {
    let (mut store, ids) = beside_a_spinner(preemption, u64::MAX, |mut caller| {
        caller.set_fuel(0).unwrap();
    });
    run_all(&mut store);
    assert!(stats(&store, ids[0]).fuel_consumed > 0);
    for id in ids {
        assert_out_of_fuel(&mut store, id);
    }
}

fn a_host_function_can_cut_the_budget_at_its_callers_expense(preemption: Preemption) {
    // The sibling takes days for half of it.
    const BUDGET: u64 = 1 << 50;
    let (mut store, ids) = beside_a_spinner(preemption, BUDGET, |mut caller| {
        assert!(caller.get_fuel().unwrap() > BUDGET / 2);
        caller.set_fuel(50_000).unwrap();
    });
    run_all(&mut store);
    // Nobody has got what was cut, so the caller has used it.
    let [beside, caller] = ids.map(|id| stats(&store, id).fuel_consumed);
    assert!(caller >= BUDGET / 2 - 50_000, "{caller}");
    let used = beside + caller;
    assert!((BUDGET..BUDGET + 200).contains(&used), "{used}");
    for id in ids {
        assert_out_of_fuel(&mut store, id);
    }
}

#[test]
fn a_large_budget_is_counted_exactly() {
    // More than compiled code can be given at once.
    let budget = u64::MAX - 12_345;
    let (mut store, module) = store(Preemption::Fuel, budget);
    let id = spawn(&mut store, &module, "fib", &[Val::I32(15)]);
    run_all(&mut store);
    let used = stats(&store, id).fuel_consumed;
    assert!(used > 1_000);
    assert_eq!(store.get_fuel().unwrap(), budget - used);
}

#[test]
fn under_epochs_a_yield_interval_gives_way_to_siblings() {
    let (mut store, module) = store(Preemption::Epoch, u64::MAX);
    store
        .wasm_threads()
        .set_slice(Slice::Time(ms(100_000)))
        .unwrap();
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    store.fuel_async_yield_interval(Some(10_000)).unwrap();
    let run = store.run_wasm_threads_for(ms(100)).unwrap();
    assert!(run.dispatches > 10, "{run:?}");
    for id in spinners {
        let stats = stats(&store, id);
        assert!(stats.dispatches > 5, "{stats:?}");
        // It yielded, and its slice was not over but for the end of the run.
        assert!(stats.preemptions <= 1, "{stats:?}");
    }
}

#[test]
fn under_fuel_a_yield_interval_does_not_change_slices() {
    let (mut store, module) = store(Preemption::Fuel, u64::MAX);
    let id = spawn_spinner(&mut store, &module).0;
    store.fuel_async_yield_interval(Some(10)).unwrap();
    store.run_wasm_threads_for(ms(20)).unwrap();
    let stats = stats(&store, id);
    assert!(stats.fuel_consumed >= 875 * stats.preemptions, "{stats:?}");
}
