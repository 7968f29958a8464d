//! No guest can keep its siblings from running, or a run from ending, by what it does
//! while it must not be switched away from: it waits, collects garbage, or is in a guest
//! that a host function has called.

use crate::support::*;
use std::future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// What a run and its threads are to bear: slices are those of a new store.
fn assert_fair(mut store: Store<()>, greedy: ThreadId, what: &'static str) {
    let guests = Module::new(store.engine(), STATELESS).unwrap();
    let instance = now(Instance::new_async(&mut store, &guests, &[])).unwrap();
    let sibling = spawn_in(&mut store, instance, "spin", &[]);
    must_end(move || {
        // Some machines are busy.
        while stats(&store, sibling).dispatches < 4 {
            store.run_wasm_threads_for(ms(200)).unwrap();
        }
        assert!(!finished(&store, greedy), "{what}");
        let handle = greedy.remote(&mut store).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(ms(50));
            handle.kill();
        });
        while !finished(&store, greedy) {
            store.run_wasm_threads_for(ms(200)).unwrap();
        }
        killer.join().unwrap();
        assert_killed(&mut store, greedy);
    });
}

/// Awaits an asynchronous host function again and again.
const NAPS: &str = r#"
(module
  (import "" "nap" (func $nap))
  (func (export "run") (loop $again (call $nap) (br $again))))
"#;

fn spawn_napper(store: &mut Store<()>, options: ThreadOptions) -> ThreadId {
    let nap = Func::wrap_async(&mut *store, |_, (): ()| Box::new(after(ms(1))));
    spawn_with(store, NAPS, nap, options)
}

/// Spawns `run` of `module`, which imports a function.
fn spawn_with(
    store: &mut Store<()>,
    module: &str,
    import: Func,
    options: ThreadOptions,
) -> ThreadId {
    let module = Module::new(store.engine(), module).unwrap();
    let instance = now(Instance::new_async(&mut *store, &module, &[import.into()])).unwrap();
    let run = instance.get_func(&mut *store, "run").unwrap();
    options.spawn(&mut *store, run, &[]).unwrap()
}

for_each_preemption!(
    limits_end_one_whose_host_future_is_never_ready,
    one_that_is_nearly_always_nested_is_preempted,
    limits_end_one_that_is_nearly_always_nested,
);
// Of slices of time.
for_each_preemption!([epoch, signal]
    one_that_awaits_in_a_loop_is_preempted,
    limits_end_one_that_awaits_in_a_loop,
    one_that_was_alone_for_longer_than_its_slice_is_preempted_at_last,
    a_poll_ends_of_one_whose_slice_was_over_between_two_polls,
);

fn one_that_awaits_in_a_loop_is_preempted(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let napper = spawn_napper(&mut store, ThreadOptions::new());
    assert_fair(store, napper, "awaits");
}

fn limits_end_one_that_awaits_in_a_loop(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let napper = spawn_napper(&mut store, ThreadOptions::new().timeout(ms(50)));
    let exit = must_end(move || {
        store.run_wasm_threads_for(Duration::MAX).unwrap();
        napper.take_exit(&mut store)
    });
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
}

fn limits_end_one_whose_host_future_is_never_ready(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let wait = Func::wrap_async(&mut store, |_, (): ()| Box::new(future::pending::<()>()));
    let id = spawn_with(&mut store, NAPS, wait, ThreadOptions::new().timeout(ms(50)));
    let exit = must_end(move || {
        store.run_wasm_threads_for(Duration::MAX).unwrap();
        id.take_exit(&mut store)
    });
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
}

/// Enters a guest through a host function again and again.
const NESTS: &str = r#"
(module
  (import "" "enter" (func $enter))
  (func (export "run") (loop $again (call $enter) (br $again)))
  (func (export "work")
    (local $n i32)
    (local.set $n (i32.const 1000000))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"#;

/// The host function is all but for a few instructions in `work`.
fn spawn_nester(store: &mut Store<()>, options: ThreadOptions) -> ThreadId {
    let enter = Func::wrap(&mut *store, |mut caller: Caller<'_, ()>| {
        let Some(Extern::Func(work)) = caller.get_export("work") else {
            panic!("there is `work`");
        };
        work.typed::<(), ()>(&caller)?.call(&mut caller, ())
    });
    spawn_with(store, NESTS, enter, options)
}

fn one_that_is_nearly_always_nested_is_preempted(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let nester = spawn_nester(&mut store, ThreadOptions::new());
    assert_fair(store, nester, "nests");
}

fn limits_end_one_that_is_nearly_always_nested(source: Preemption) {
    for options in [
        ThreadOptions::new().timeout(ms(50)),
        ThreadOptions::new().cpu_limit(ms(20)),
    ] {
        let mut store = Store::new(&engine(source), ());
        let nester = spawn_nester(&mut store, options);
        let exit = must_end(move || {
            store.run_wasm_threads_for(Duration::MAX).unwrap();
            nester.take_exit(&mut store)
        });
        assert!(
            matches!(exit, Some(Exit::OverLimit(_))),
            "{source} {exit:?}"
        );
    }
}

#[test]
fn the_fuel_of_one_that_nests_is_counted_exactly() {
    let fuel_of = |slice| {
        let mut store = Store::new(
            &Engine::new(&config_with_fuel(Preemption::Fuel)).unwrap(),
            (),
        );
        store.set_fuel(1_000_000_000).unwrap();
        store.wasm_threads().set_slice(Slice::Fuel(slice)).unwrap();
        let module = r#"
(module
  (import "" "enter" (func $enter))
  (func (export "run") (call $enter) (call $enter) (call $enter))
  (func (export "work")
    (local $n i32)
    (local.set $n (i32.const 1000))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"#;
        let enter = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
            let work = caller.get_export("work").unwrap().into_func().unwrap();
            work.call(&mut caller, &[], &mut [])
        });
        let id = spawn_with(&mut store, module, enter, ThreadOptions::new());
        let instance = stateless(&mut store);
        spawn_in(&mut store, instance, "sum", &[Val::I64(10_000)]);
        let run = run_all(&mut store);
        let used = stats(&store, id).fuel_consumed;
        (
            used,
            1_000_000_000 - store.get_fuel().unwrap(),
            run.preemptions,
        )
    };
    let (used, all, preemptions) = fuel_of(i64::MAX as u64);
    assert_eq!(preemptions, 0);
    for slice in [1, 7, 100, 5_000] {
        let (used_in_slices, all_in_slices, preemptions) = fuel_of(slice);
        assert_eq!(
            (used_in_slices, all_in_slices),
            (used, all),
            "slice of {slice}"
        );
        assert!(preemptions > 3, "slice of {slice}");
    }
}

/// Allocates for ever, and keeps little.
const CHURN: &str = r#"
(module
  (type $list (struct (field i64) (field (ref null $list))))
  (func (export "run")
    (local $list (ref null $list))
    (loop $again
      (local.set $list (struct.new $list (i64.const 1) (ref.null $list)))
      (br $again))))
"#;

fn churning_store(source: Preemption) -> (Store<()>, ThreadId) {
    let mut config = config(source);
    config.wasm_gc(true).wasm_function_references(true);
    let engine = Engine::new(&config).unwrap();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, CHURN).unwrap();
    let churn = spawn(&mut store, &module, "run", &[]);
    (store, churn)
}

for_each_preemption!(
    one_that_collects_garbage_all_the_time_is_preempted,
    dropping_a_run_in_a_collection_ends_no_thread,
);

fn one_that_collects_garbage_all_the_time_is_preempted(source: Preemption) {
    let (store, churn) = churning_store(source);
    assert_fair(store, churn, "collects");
}

fn dropping_a_run_in_a_collection_ends_no_thread(source: Preemption) {
    let (mut store, churn) = churning_store(source);
    for _ in 0..50 {
        let mut run = pin!(store.run_wasm_threads_async(ms(5)));
        let _ = future::Future::poll(run.as_mut(), &mut Context::from_waker(Waker::noop()));
    }
    assert!(!finished(&store, churn));
}

/// A guest that calls a host function once, and spins.
const THEN_SPINS: &str = r#"
(module
  (import "" "once" (func $once))
  (func (export "run") (call $once) (loop br 0)))
"#;

fn one_that_was_alone_for_longer_than_its_slice_is_preempted_at_last(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let instance = stateless(&mut store);
    let answer = instance.get_func(&mut store, "answer").unwrap();
    let once = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        std::thread::sleep(ms(30));
        caller.spawn_wasm_thread(answer, &[]).map(drop)
    });
    spawn_with(&mut store, THEN_SPINS, once, ThreadOptions::new());
    let run = must_end(move || store.run_wasm_threads_for(ms(200)).unwrap());
    assert_eq!(run.finished, 1, "{source}");
}

fn a_poll_ends_of_one_whose_slice_was_over_between_two_polls(source: Preemption) {
    let mut store = Store::new(&engine(source), ());
    let once = Func::wrap_async(&mut store, |_, (): ()| Box::new(after(ms(20))));
    let id = spawn_with(&mut store, THEN_SPINS, once, ThreadOptions::new());
    let instance = now(async {
        let module = Module::new(store.engine(), STATELESS).unwrap();
        Instance::new_async(&mut store, &module, &[]).await.unwrap()
    });
    let sibling = spawn_in(&mut store, instance, "spin", &[]);
    must_end(move || {
        {
            let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..5 {
                assert!(future::Future::poll(run.as_mut(), &mut cx).is_pending());
                std::thread::sleep(ms(30));
            }
        }
        assert!(stats(&store, sibling).dispatches > 0);
        assert!(stats(&store, id).preemptions > 0);
    });
}

#[test]
fn an_epoch_callback_that_calls_a_guest_mints_no_fuel() {
    let used = |slice| {
        let mut config = config(Preemption::Fuel);
        config.consume_fuel(true).epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000_000).unwrap();
        store.wasm_threads().set_slice(Slice::Fuel(slice)).unwrap();
        let instance = stateless(&mut store);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.epoch_deadline_callback(move |mut store| {
            sum.call(&mut store, 300)?;
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let ticking = engine.clone();
        let tick = Func::wrap(&mut store, move || ticking.increment_epoch());
        let module = r#"
            (module
              (import "" "tick" (func $tick))
              (func $leaf)
              (func (export "run")
                (local $n i32)
                (local.set $n (i32.const 20))
                (loop $again
                  (call $tick)
                  (call $leaf)
                  (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
        "#;
        spawn_with(&mut store, module, tick, ThreadOptions::new());
        run_all(&mut store);
        1_000_000 - store.get_fuel().unwrap()
    };
    let whole = used(i64::MAX as u64);
    for slice in [200, 1_000, 5_000] {
        assert_eq!(used(slice), whole, "slices of {slice}");
    }
}
