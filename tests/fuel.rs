//! Fuel is counted for the thread that used it, exactly.

use crate::support::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use wasmtime::preempt::*;
use wasmtime::*;

/// Functions that do different things between two checks.
const BURNERS: &str = burners!(
    r#"
  (func (export "trap") (param i32) (result i32)
    (drop (call $fib (local.get 0)))
    (unreachable))
  (func (export "divide") (param i32) (result i32)
    (loop $again
      (drop (i32.div_u (i32.const 1000) (local.get 0)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br $again))
    (unreachable))
  ;; Catches what it throws after some work.
  (tag $thrown)
  (func (export "exceptions") (param $n i32) (result i32)
    (loop $again
      (block $caught
        (try_table (catch $thrown $caught)
          (drop (call $fib (i32.const 5)))
          (call $throw))
        (unreachable))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func $throw (drop (call $fib (i32.const 5))) (throw $thrown))
  (func $overflow (export "overflow") (param i32) (result i32)
    (call $overflow (local.get 0))))
"#
);

const CALLS: [(&str, i32); 7] = [
    ("exceptions", 20),
    ("fib", 12),
    ("loop", 1_000),
    ("host_calls", 100),
    ("trap", 10),
    ("fib", 1),
    ("overflow", 0),
];

/// What threads use which make these calls, and what left the store's budget.
fn thread_fuel(config: &Config, slice: Slice, calls: &[(&str, i32)]) -> (Vec<u64>, u64) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, BURNERS).unwrap();
    let linker = burners_linker(&engine);
    let mut store = Store::new(&engine, ());
    // Less than what compiled code can be given at once.
    store.set_fuel(1 << 40).unwrap();
    store.wasm_threads().set_slice(slice).unwrap();
    let ids: Vec<_> = calls
        .iter()
        .map(|(export, n)| spawn_linked(&mut store, &linker, &module, export, &[Val::I32(*n)]))
        .collect();
    let before = store.get_fuel().unwrap();
    run_all(&mut store);
    let used = ids.iter().map(|id| stats(&store, *id).fuel_consumed);
    (used.collect(), before - store.get_fuel().unwrap())
}

#[test]
fn a_thread_uses_as_much_as_a_plain_call_whatever_its_slices() {
    let expected = CALLS.map(|call| plain_fuel(BURNERS, call));
    assert!(expected.iter().all(|fuel| *fuel > 0), "{expected:?}");
    for slice in [1, 2, 3, 7, 50, 1_000, 10_000_000, i64::MAX as u64] {
        let (used, left) = thread_fuel(&config(Preemption::Fuel), Slice::Fuel(slice), &CALLS);
        assert_eq!(used, expected, "slices of {slice}");
        assert_eq!(used.iter().sum::<u64>(), left, "slices of {slice}");
    }
}

#[test]
fn fuel_is_counted_under_epochs_too() {
    let config = config_with_fuel(Preemption::Epoch);
    let expected = CALLS.map(|call| plain_fuel(BURNERS, call));
    for slice in [ms(10), std::time::Duration::from_nanos(1)] {
        let (used, left) = thread_fuel(&config, Slice::Time(slice), &CALLS);
        assert_eq!(used, expected);
        assert_eq!(used.iter().sum::<u64>(), left);
    }
}

/// The calls are long enough for many preemptions by time.
const LONG_CALLS: [(&str, i32); 3] = [("loop", 3_000_000), ("fib", 25), ("loop", 2_000_000)];

#[test]
fn fuel_is_exact_where_epochs_end_slices() {
    let config = config_with_fuel(Preemption::Epoch);
    let slice = Slice::Time(std::time::Duration::from_micros(100));
    for _ in 0..3 {
        let (used, left) = thread_fuel(&config, slice, &LONG_CALLS);
        assert_eq!(used, LONG_CALLS.map(|call| plain_fuel(BURNERS, call)));
        assert_eq!(used.iter().sum::<u64>(), left);
    }
}

#[test]
fn fuel_is_exact_where_an_embedders_epochs_yield() {
    let mut config = config(Preemption::Fuel);
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, BURNERS).unwrap();
    let linker = burners_linker(&engine);
    let done = Arc::new(AtomicBool::new(false));
    let ticker = thread::spawn({
        let (engine, done) = (engine.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                engine.increment_epoch();
                thread::sleep(std::time::Duration::from_micros(100));
            }
        }
    });
    until_preempted(20, || {
        let mut store = Store::new(&engine, ());
        let ids = LONG_CALLS
            .map(|(export, n)| spawn_linked(&mut store, &linker, &module, export, &[Val::I32(n)]));
        store.epoch_deadline_async_yield_and_update(1);
        let before = store.get_fuel().unwrap();
        let mut yields = 0;
        for slice in [100_000, 1_000_000, 10_000, 10_000_000].into_iter().cycle() {
            store.wasm_threads().set_slice(Slice::Fuel(slice)).unwrap();
            let run = store.run_wasm_threads_for(ms(3)).unwrap();
            yields += run.dispatches - run.preemptions - run.finished;
            if run.end == RunEnd::AllFinished {
                break;
            }
        }
        let used = ids.map(|id| stats(&store, id).fuel_consumed);
        assert_eq!(used, LONG_CALLS.map(|call| plain_fuel(BURNERS, call)));
        assert_eq!(used.iter().sum::<u64>(), before - store.get_fuel().unwrap());
        yields
    });
    done.store(true, Ordering::Relaxed);
    ticker.join().unwrap();
}

#[test]
fn a_machine_trap_is_counted_up_to_the_last_check_at_least() {
    // Compiled code keeps its count in a register, and does not write it back
    // before an instruction that may trap, in a plain call neither. So here
    // alone the count depends on the slices, and it is never too high.
    let all = plain_fuel(BURNERS, ("loop", 1)); // a bound for what one turn may use
    let (written_back, _) = thread_fuel(
        &config(Preemption::Fuel),
        Slice::Fuel(1),
        &[("divide", 1_000)],
    );
    let (unsliced, _) = thread_fuel(
        &config(Preemption::Fuel),
        Slice::Fuel(1_000_000),
        &[("divide", 1_000)],
    );
    assert_eq!(unsliced, [plain_fuel(BURNERS, ("divide", 1_000))]);
    assert!(written_back[0] >= unsliced[0]);
    assert!(written_back[0] <= 1_000 * all);
}

#[test]
fn without_a_budget_there_is_all_the_fuel_in_the_world() {
    let store = Store::new(&engine(Preemption::Fuel), ());
    assert_eq!(store.get_fuel().unwrap(), u64::MAX);
    // If an embedder asked for fuel it starts as upstream says.
    for preemption in [Preemption::Fuel, Preemption::Epoch] {
        let store = Store::new(&Engine::new(&config_with_fuel(preemption)).unwrap(), ());
        assert_eq!(store.get_fuel().unwrap(), 0);
    }
    // And under epochs alone there is none to be had.
    let store = Store::new(&engine(Preemption::Epoch), ());
    assert!(store.get_fuel().is_err());
}

#[test]
fn no_fuel_is_counted_where_none_is_consumed() {
    let (mut store, module) = guests(Preemption::Epoch);
    let id = spawn(&mut store, &module, "fib", &[Val::I32(10)]);
    run_all(&mut store);
    assert_eq!(stats(&store, id).fuel_consumed, 0);
}

/// Guests that call `host` now and then.
fn with_host<T: Send + 'static>(
    data: T,
    host: impl Fn(Caller<'_, T>) + Send + Sync + 'static,
) -> (Store<T>, Linker<T>, Module) {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, BURNERS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "host", host).unwrap();
    let store = store_with_slice(&engine, data, Slice::Fuel(1_000));
    (store, linker, module)
}

#[test]
fn a_host_function_sees_what_is_left_of_the_budget() {
    const BUDGET: u64 = 1_000_000;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let host = seen.clone();
    let (mut store, linker, module) = with_host((), move |caller| {
        host.lock().unwrap().push(caller.get_fuel().unwrap());
    });
    store.set_fuel(BUDGET).unwrap();
    spawn_linked(&mut store, &linker, &module, "host_calls", &[Val::I32(500)]);
    let run = run_all(&mut store);
    assert!(run.preemptions > 1);

    let seen = seen.lock().unwrap();
    let step = seen[0] - seen[1];
    assert!(seen[0] < BUDGET && step > 0);
    // The same each time, across the ends of slices.
    for (i, fuel) in seen.iter().enumerate() {
        assert_eq!(*fuel, seen[0] - i as u64 * step);
    }
}

#[test]
fn setting_fuel_in_a_host_function_changes_the_budget_and_not_the_count() {
    let (mut store, linker, module) = with_host((), |mut caller| {
        caller.set_fuel(777_777_777).unwrap();
    });
    store.set_fuel(1_000_000).unwrap();
    let calls = ("host_calls", 300);
    let a = spawn_linked(&mut store, &linker, &module, calls.0, &[Val::I32(calls.1)]);
    let b = spawn_linked(&mut store, &linker, &module, "fib", &[Val::I32(12)]);
    let run = run_all(&mut store);
    assert!(run.preemptions > 3);
    assert_eq!(stats(&store, a).fuel_consumed, plain_fuel(BURNERS, calls));
    assert_eq!(
        stats(&store, b).fuel_consumed,
        plain_fuel(BURNERS, ("fib", 12))
    );
    // The last call set it, and both went on afterwards.
    let left = store.get_fuel().unwrap();
    assert!((777_000_000..777_777_777).contains(&left), "{left}");
}

#[test]
fn setting_fuel_in_a_host_function_does_not_prolong_the_slice() {
    let (mut store, linker, module) = with_host(0, |mut caller| {
        *caller.data_mut() += 1;
        caller.set_fuel(u64::MAX).unwrap();
    });
    let calls = ("host_calls", 1_000);
    let id = spawn_linked(&mut store, &linker, &module, calls.0, &[Val::I32(calls.1)]);
    run_all(&mut store);
    let stats = stats(&store, id);
    assert_eq!(*store.data(), 1_000);
    assert_eq!(stats.fuel_consumed, plain_fuel(BURNERS, calls));
    let slices = stats.fuel_consumed / 1_000;
    assert!(stats.preemptions + 1 >= slices - slices / 10, "{stats:?}");
}

#[test]
fn plain_calls_between_runs_are_not_counted_for_threads() {
    let (mut store, linker, module) = with_host((), |_| {});
    store.set_fuel(1_000_000).unwrap();
    let id = spawn_linked(&mut store, &linker, &module, "loop", &[Val::I32(5_000)]);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let fib = instance
        .get_typed_func::<i32, i32>(&mut store, "fib")
        .unwrap();
    let mut plain = 0;
    while id.info(&store).unwrap().state != ThreadState::Finished {
        store
            .run_wasm_threads_for(std::time::Duration::from_nanos(1))
            .unwrap();
        let before = store.get_fuel().unwrap();
        fib.call(&mut store, 12).unwrap();
        let used = before - store.get_fuel().unwrap();
        assert_eq!(used, plain_fuel(BURNERS, ("fib", 12)));
        plain += used;
    }
    let thread = stats(&store, id).fuel_consumed;
    assert_eq!(thread, plain_fuel(BURNERS, ("loop", 5_000)));
    assert_eq!(store.get_fuel().unwrap(), 1_000_000 - plain - thread);
}
