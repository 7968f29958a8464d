//! A store, and the threads that are suspended in it, may go on on any OS thread.

use crate::support::*;
use std::thread;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn a_store_with_threads_is_send() {
    fn assert_send<T: Send>() {}
    assert_send::<Store<Vec<u8>>>();
    assert_send::<ThreadId>();
    assert_send::<TypedThreadId<i32>>();
    assert_send::<Exit>();
    assert_send::<RunSummary>();
}

for_each_preemption!(
    each_run_may_be_on_another_os_thread,
    a_trap_and_an_overflow_are_caught_on_another_os_thread,
    host_functions_are_called_on_the_os_thread_of_the_run,
    stores_of_one_engine_run_on_several_os_threads_at_once,
    a_future_is_awaited_on_another_os_thread,
);

/// Runs the store for a bit on a new OS thread, again and again, until all but
/// `left` have ended. Returns how many runs that took.
fn run_around<T: Send + 'static>(store: &mut Option<Store<T>>, left: usize) -> usize {
    let mut runs = 0;
    loop {
        let mut here = store.take().unwrap();
        let there = thread::spawn(move || {
            here.run_wasm_threads_for(ms(1)).unwrap();
            here
        });
        let here = store.insert(there.join().unwrap());
        runs += 1;
        let unfinished = here
            .wasm_threads()
            .iter()
            .filter(|thread| thread.state != ThreadState::Finished);
        if unfinished.count() <= left {
            return runs;
        }
    }
}

fn each_run_may_be_on_another_os_thread(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let mut store = Some(store);
    let mut runs = 0;
    until_preempted(10, || {
        let here = store.as_mut().unwrap();
        let before = stats(here, spinner).preemptions;
        let fibs = [28, 27].map(|n| spawn(here, &module, "fib", &[Val::I32(n)]));
        let sum = spawn(here, &module, "sum", &[Val::I64(2_000_000)]);
        runs += run_around(&mut store, 1);
        let here = store.as_mut().unwrap();
        assert_eq!(bits(&returned(here, fibs[0])), [317_811]);
        assert_eq!(bits(&returned(here, fibs[1])), [196_418]);
        assert_eq!(bits(&returned(here, sum)), [2_000_001_000_000]);
        stats(here, spinner).preemptions - before
    });
    assert!(runs > 2, "{runs}");
}

fn a_trap_and_an_overflow_are_caught_on_another_os_thread(preemption: Preemption) {
    let (mut store, _) = guests(preemption);
    let module = Module::new(
        store.engine(),
        r#"(module
            (func $spin (param i32)
              (loop $again
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "trap") (param i32) (call $spin (local.get 0)) unreachable)
            (func (export "divide") (param i32)
              (call $spin (local.get 0))
              (drop (i32.div_u (i32.const 1) (i32.const 0))))
            (func $overflow (export "overflow") (param i32)
              (call $spin (local.get 0))
              (call $overflow (i32.const 1))))"#,
    )
    .unwrap();
    let turns = Val::I32(some_turns(preemption) * 2);
    let traps = [
        ("trap", Trap::UnreachableCodeReached),
        ("divide", Trap::IntegerDivisionByZero),
        ("overflow", Trap::StackOverflow),
    ]
    .map(|(export, trap)| (spawn(&mut store, &module, export, &[turns]), trap));
    let mut store = Some(store);
    run_around(&mut store, 0);
    let mut store = store.unwrap();
    for (id, trap) in traps {
        assert_eq!(trapped(&mut store, id).downcast_ref(), Some(&trap));
    }
}

fn host_functions_are_called_on_the_os_thread_of_the_run(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "host" (func $host))
            (func (export "call") (loop $again (call $host) (br $again))))"#,
    )
    .unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap(
            "",
            "host",
            |caller: Caller<'_, Option<thread::ThreadId>>| {
                assert_eq!(*caller.data(), Some(thread::current().id()));
            },
        )
        .unwrap();
    let mut store = store_with_slice(&engine, None, short_slice(preemption));
    for _ in 0..3 {
        spawn_linked(&mut store, &linker, &module, "call", &[]);
    }
    for _ in 0..10 {
        store = thread::spawn(move || {
            *store.data_mut() = Some(thread::current().id());
            assert_eq!(store.run_wasm_threads_for(ms(5)).unwrap().finished, 0);
            store
        })
        .join()
        .unwrap();
    }
}

fn stores_of_one_engine_run_on_several_os_threads_at_once(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(&engine, GUESTS).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut store = store_with_slice(&engine, (), shortest_slice(preemption));
                until_preempted(10, || {
                    let sum = spawn(&mut store, &module, "sum", &[Val::I64(100_000)]);
                    let fib = spawn(&mut store, &module, "fib", &[Val::I32(20)]);
                    let trap = spawn(&mut store, &module, "sum_then_trap", &[Val::I64(99)]);
                    let run = run_all(&mut store);
                    assert_eq!(bits(&returned(&mut store, sum)), [5_000_050_000]);
                    assert_eq!(bits(&returned(&mut store, fib)), [6_765]);
                    trapped(&mut store, trap);
                    run.preemptions
                });
            });
        }
    });
}

fn a_future_is_awaited_on_another_os_thread(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    spawn_spinner(&mut store, &module);
    let host = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (): ()| {
        Box::new(async {
            let mut polls = 0;
            std::future::poll_fn(move |cx| {
                polls += 1;
                if polls == 10 {
                    return std::task::Poll::Ready(());
                }
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
                std::task::Poll::Pending
            })
            .await;
            1
        })
    });
    let id = store.spawn_wasm_thread(host, &[]).unwrap();
    store
        .run_wasm_threads_for(std::time::Duration::ZERO)
        .unwrap();
    let mut store = Some(store);
    run_around(&mut store, 1);
    assert_eq!(bits(&returned(&mut store.unwrap(), id)), [1]);
}
