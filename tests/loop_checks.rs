//! The checks of fuel and of epochs in loops leave what the loops compute in
//! registers, and change nothing else.

use crate::dense_loops::{floats, integers, vectors};
use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

mod golden;
#[cfg_attr(target_arch = "aarch64", path = "loop_checks/listings_aarch64.rs")]
#[cfg_attr(not(target_arch = "aarch64"), path = "loop_checks/listings_x86_64.rs")]
mod listings;

/// The paper's workloads, by what their functions are called.
const PAPER: [(&str, &str); 3] = [
    ("fib", include_str!("../fixtures/paper/fib.wat")),
    ("dot", include_str!("../fixtures/paper/dot.wat")),
    ("multiply", include_str!("../fixtures/paper/matmul.wat")),
];

fn checks(fuel: bool, epoch: bool) -> Config {
    let mut config = Config::new();
    config.consume_fuel(fuel).epoch_interruption(epoch);
    config
}

/// The default on x86-64.
fn preserving() -> Config {
    let mut config = Config::new();
    config.loop_checks_preserve_registers(true);
    config
}

/// Calls `run` as a guest thread in slices that end at nearly every check, beside
/// one that spins. Returns its results, the fuel it used and how often it was
/// preempted.
fn run(config: &mut Config, preemption: Preemption, wat: &str, turns: i64) -> (String, u64, u64) {
    let engine = Engine::new(config.preemption(preemption)).unwrap();
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let sibling = Module::new(&engine, GUESTS).unwrap();
    spawn(&mut store, &sibling, "spin", &[]);
    let id = spawn(&mut store, &module, "run", &[Val::I64(turns)]);
    while id.info(&store).unwrap().state != ThreadState::Finished {
        store.run_wasm_threads_for(ms(10)).unwrap();
    }
    let stats = stats(&store, id);
    let results = format!("{:?}", returned(&mut store, id));
    (results, stats.fuel_consumed, stats.preemptions)
}

fn dense_guests() -> impl Iterator<Item = String> {
    let counts = [3, 13, 14, 15, 24];
    let guests = [integers, vectors, floats];
    counts
        .into_iter()
        .flat_map(move |n| guests.map(|guest| guest(n)))
}

/// Calls `run` without any checks.
fn call(wat: &str, turns: i64) -> String {
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance.get_func(&mut store, "run").unwrap();
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    func.call(&mut store, &[Val::I64(turns)], &mut results)
        .unwrap();
    format!("{results:?}")
}

#[test]
fn every_register_is_as_it_was_after_a_check_that_calls_the_host() {
    for wat in dense_guests() {
        let (found, _, preemptions) = run(&mut preserving(), Preemption::Fuel, &wat, 3_000);
        assert_eq!(found, call(&wat, 3_000), "{wat}");
        assert!(preemptions >= 2_999, "{preemptions}");
    }
}

#[test]
fn every_register_is_as_it_was_after_an_epoch() {
    until_preempted(100, || {
        let preemptions = dense_guests().map(|wat| {
            let (found, _, preempted) = run(&mut preserving(), Preemption::Epoch, &wat, 2_000_000);
            assert_eq!(found, call(&wat, 2_000_000), "{wat}");
            preempted
        });
        preemptions.sum()
    });
}

#[test]
fn fuel_and_schedules_do_not_depend_on_how_checks_call() {
    for wat in dense_guests() {
        let ours = run(&mut preserving(), Preemption::Fuel, &wat, 500);
        let mut upstreams = Config::new();
        upstreams.loop_checks_preserve_registers(false);
        assert_eq!(
            run(&mut upstreams, Preemption::Fuel, &wat, 500),
            ours,
            "{wat}"
        );
    }
}

#[test]
fn an_epochs_deadline_traps_and_yields_as_before() {
    for preserve in [false, true] {
        let mut config = checks(false, true);
        config.loop_checks_preserve_registers(preserve);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.set_epoch_deadline(1);
        engine.increment_epoch();
        // At the function's entry, and at the loop's header in each of ten turns and
        // in the one that finds nothing left.
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            Ok(UpdateDeadline::Continue(0))
        });
        assert_eq!(sum.call(&mut store, 10).unwrap(), 55);
        assert_eq!(*store.data(), 12, "preserve: {preserve}");
        store.epoch_deadline_trap();
        let error = sum.call(&mut store, 10).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    }
}

#[test]
fn fuel_that_is_used_up_in_a_loop_traps_with_a_backtrace() {
    for preserve in [false, true] {
        let mut config = checks(true, false);
        config.loop_checks_preserve_registers(preserve);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let trap = instance
            .get_typed_func::<i64, ()>(&mut store, "sum_then_trap")
            .unwrap();
        store.set_fuel(1_000).unwrap();
        let error = trap.call(&mut store, i64::MAX).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
        let names: Vec<_> = backtrace.frames().iter().map(|f| f.func_name()).collect();
        assert_eq!(names, [Some("sum"), None], "preserve: {preserve}");
    }
}

#[test]
fn code_with_the_other_checks_is_refused() {
    for fuel in [false, true] {
        let engine = |preserve| {
            let mut config = checks(fuel, !fuel);
            config.loop_checks_preserve_registers(preserve);
            Engine::new(&config).unwrap()
        };
        for preserve in [false, true] {
            let code = engine(preserve)
                .precompile_module(GUESTS.as_bytes())
                .unwrap();
            // SAFETY: an engine of the same configuration has made it, or the other.
            let same = unsafe { Module::deserialize(&engine(preserve), &code) };
            assert!(same.is_ok());
            // SAFETY: as above.
            let other = unsafe { Module::deserialize(&engine(!preserve), &code) };
            let error = format!("{:?}", other.err().unwrap());
            assert!(error.contains("register-preserving"), "{error}");
        }
    }
}
