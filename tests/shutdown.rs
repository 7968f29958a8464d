//! Shutting down ends all threads, wherever they are, and leaks nothing.

use crate::support::*;
use std::thread;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    threads_in_every_state_are_ended,
    nothing_is_left_to_shut_down_twice,
    the_store_is_as_good_as_new_afterwards,
    a_thousand_suspended_threads_are_ended,
    shutting_down_in_a_run_is_an_error,
    a_thread_that_had_nested_calls_is_ended,
    threads_are_ended_on_another_os_thread,
    a_store_without_threads_has_none_to_end,
    a_thread_in_the_depth_of_its_stack_is_ended,
);

fn threads_in_every_state_are_ended(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let answer = spawn(&mut store, &module, "answer", &[]);
    let trap = spawn(&mut store, &module, "trap", &[]);
    let suspended = spawn_spinner(&mut store, &module).0;
    let spin = Instance::new(&mut store, &module, &[]).unwrap();
    let spin = spin.get_func(&mut store, "spin").unwrap();
    let options = ThreadOptions::new().detached(true);
    let detached = options.spawn(&mut store, spin, &[]).unwrap();
    let fib = spawn(&mut store, &module, "fib", &[Val::I32(40)]);
    run_until(&mut store, |store| {
        let started = |id| stats(store, id).dispatches > 0;
        finished(store, answer) && finished(store, trap) && started(detached) && started(fib)
    });
    let never_started = spawn_spinner(&mut store, &module).0;
    assert_eq!(stats(&store, never_started).dispatches, 0);

    assert_eq!(store.shutdown_wasm_threads(), 4);
    // One is kept for the next thread.
    assert!(stacks.live() <= 1, "{}", stacks.live());
    assert_eq!(bits(&returned(&mut store, answer)), [42]);
    trapped(&mut store, trap);
    for id in [suspended, fib, never_started] {
        assert_killed(&mut store, id);
    }
    assert!(detached.take_exit(&mut store).is_none());
    assert_eq!(store.wasm_threads().iter().count(), 0);
    drop(store);
    assert_eq!(stacks.live(), 0);
}

fn nothing_is_left_to_shut_down_twice(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (id, _) = spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(5)).unwrap();
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_eq!(store.shutdown_wasm_threads(), 0);
    assert_killed(&mut store, id);
    let run = store.run_wasm_threads_for(ms(5)).unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::AllFinished, 0));
}

fn the_store_is_as_good_as_new_afterwards(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let plain = Instance::new(&mut store, &module, &[]).unwrap();
    let plain = plain.get_typed_func::<i32, i32>(&mut store, "fib").unwrap();
    let mut ids = Vec::new();
    for _ in 0..20 {
        spawn_spinner(&mut store, &module);
        let sum = spawn(&mut store, &module, "sum", &[Val::I64(1_000)]);
        while store.run_wasm_threads_for(ms(2)).unwrap().finished == 0 {}
        assert_eq!(store.shutdown_wasm_threads(), 1);
        assert_eq!(bits(&returned(&mut store, sum)), [500_500]);
        assert_eq!(plain.call(&mut store, 10).unwrap(), 55);
        ids.extend(store.wasm_threads().iter().map(|thread| thread.id));
    }
    // No id was given out twice.
    assert_eq!(store.wasm_threads().iter().count(), 20);
}

fn a_thousand_suspended_threads_are_ended(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let instance = stateless(&mut store);
    for _ in 0..1_000 {
        spawn_in(&mut store, instance, "spin", &[]);
    }
    while store
        .wasm_threads()
        .iter()
        .any(|thread| thread.stats.dispatches == 0)
    {
        store.run_wasm_threads_for(ms(50)).unwrap();
    }
    assert_eq!(stacks.live(), 1_000);
    assert_eq!(store.shutdown_wasm_threads(), 1_000);
    assert!(stacks.live() <= 1);
    drop(store);
    assert_eq!(stacks.live(), 0);
}

fn shutting_down_in_a_run_is_an_error(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
        let error = caller.as_context_mut().shutdown_wasm_threads().unwrap_err();
        assert!(error.to_string().contains("shut them down"), "{error}");
    });
    let host = store.spawn_wasm_thread(host, &[]).unwrap();
    run_until(&mut store, |store| finished(store, host));
    returned(&mut store, host);
    let spinner = spinner.info(&store).unwrap();
    assert_eq!(spinner.state, ThreadState::Ready);
}

fn a_thread_that_had_nested_calls_is_ended(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "enter" (func $enter))
            (func (export "run") (call $enter) (loop br 0))
            (func (export "work")
              (local $n i32) (local.set $n (i32.const 100000))
              (loop $again
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#,
    )
    .unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("", "enter", |mut caller: Caller<'_, ()>| {
            let work = caller.get_export("work").unwrap().into_func().unwrap();
            work.call(&mut caller, &[], &mut [])
        })
        .unwrap();
    let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
    let ids = [(); 3].map(|()| spawn_linked(&mut store, &linker, &module, "run", &[]));
    while ids.iter().any(|id| stats(&store, *id).preemptions < 2) {
        store.run_wasm_threads_for(ms(20)).unwrap();
    }
    assert_eq!(store.shutdown_wasm_threads(), 3);
    for id in ids {
        assert_killed(&mut store, id);
    }
}

fn threads_are_ended_on_another_os_thread(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let ids = [(); 5].map(|()| spawn_spinner(&mut store, &module).0);
    store.run_wasm_threads_for(ms(20)).unwrap();
    let mut store = thread::spawn(move || {
        assert_eq!(store.shutdown_wasm_threads(), 5);
        store
    })
    .join()
    .unwrap();
    for id in ids {
        assert_killed(&mut store, id);
    }
}

fn a_store_without_threads_has_none_to_end(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    assert_eq!(store.shutdown_wasm_threads(), 0);
    // Of an engine without preemption, too.
    assert_eq!(Store::<()>::default().shutdown_wasm_threads(), 0);
}

fn a_thread_in_the_depth_of_its_stack_is_ended(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(
        &engine,
        r#"(module
            (func $down (export "down") (param i32)
              (if (i32.eqz (local.get 0)) (then (loop br 0)))
              (call $down (i32.sub (local.get 0) (i32.const 1)))
              (call $down (local.get 0))))"#,
    )
    .unwrap();
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let ids = [1, 100, 5_000].map(|n| spawn(&mut store, &module, "down", &[Val::I32(n)]));
    run_until(&mut store, |store| {
        ids.iter().all(|id| stats(store, *id).dispatches > 1)
    });
    assert_eq!(store.shutdown_wasm_threads(), 3);
    for id in ids {
        assert_killed(&mut store, id);
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn memory_does_not_grow_over_many_cycles() {
    in_own_process(
        module_path!(),
        "memory_does_not_grow_over_many_cycles",
        || {
            for preemption in sources() {
                let engine = engine(preemption);
                let module = Module::new(&engine, STATELESS).unwrap();
                let cycle = |n: u64| {
                    let mut store = store_with_slice(&engine, (), short_slice(preemption));
                    let instance = Instance::new(&mut store, &module, &[]).unwrap();
                    for i in 0..100 {
                        let export = ["spin", "answer", "trap", "overflow"][i % 4];
                        spawn_in(&mut store, instance, export, &[]);
                    }
                    store.run_wasm_threads_for(ms(10)).unwrap();
                    if n.is_multiple_of(2) {
                        store.shutdown_wasm_threads();
                    }
                };
                (0..50).for_each(cycle);
                let before = resident_kib();
                (0..500).for_each(cycle);
                let after = resident_kib();
                // A tenth of what 25 stacks of each cycle alone would take.
                assert!(after < before + 5_000, "{before} to {after} KiB");
            }
        },
    );
}
