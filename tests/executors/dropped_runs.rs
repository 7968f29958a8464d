//! The future of a run that is dropped or forgotten leaves the store as it should be.

use super::{one_worker, store};
use crate::support::*;
use std::future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_future_that_is_dropped_between_two_polls_leaves_the_store_runnable,
    a_thread_that_keeps_the_store_is_ended_when_the_future_is_dropped,
    the_end_of_a_thread_in_the_last_poll_leaves_nothing_to_do,
);

fn a_future_that_is_dropped_between_two_polls_leaves_the_store_runnable(source: Preemption) {
    let engine = engine(source);
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, ids) = store(&engine, &module, &[("spin", &[]), ("spin", &[])]);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        for _ in 0..4 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
        }
    }
    for id in &ids {
        assert_eq!(
            id.info(&store).unwrap().state,
            ThreadState::Ready,
            "{source}"
        );
    }
    assert_eq!(
        store.run_wasm_threads_for(ms(5)).unwrap().end,
        RunEnd::TimeUp
    );
    assert_eq!(store.shutdown_wasm_threads(), 2);
}

fn the_end_of_a_thread_in_the_last_poll_leaves_nothing_to_do(source: Preemption) {
    let engine = engine(source);
    let module = Module::new(&engine, GUESTS).unwrap();
    let (mut store, _) = store(&engine, &module, &[]);
    // It ends when the poll's time is up, while another thread is ready.
    let sleep = Func::wrap(&mut store, || std::thread::sleep(ms(50)));
    let ends = store.spawn_wasm_thread(sleep, &[]).unwrap();
    let spinner = spawn(&mut store, &module, "spin", &[]);
    let calls = Counter::default();
    let count = calls.clone();
    ends.on_exit(&mut store, move |mut store, _| {
        count.counted();
        spinner.kill(&mut store).unwrap();
    })
    .unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    while ends.info(&store).unwrap().state != ThreadState::Finished {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        let _ = run.as_mut().poll(&mut cx);
    }
    assert_eq!(calls.made(), 1, "{source}");
    let spinner = spinner.info(&store).unwrap().state;
    assert_eq!(spinner, ThreadState::Finished, "{source}");
}

fn a_thread_that_keeps_the_store_is_ended_when_the_future_is_dropped(source: Preemption) {
    let engine = engine(source);
    let futures = Counter::default();
    let mut linker = Linker::<u32>::new(&engine);
    let count = futures.clone();
    linker
        .func_wrap_async("host", "f", move |mut caller: Caller<'_, u32>, ()| {
            let counted = count.counted();
            Box::new(async move {
                let _counted = counted;
                let data = caller.data_mut();
                future::pending::<()>().await;
                *data += 1;
            })
        })
        .unwrap();
    let wat = r#"(module
            (import "host" "f" (func $f))
            (func (export "f") (call $f))
            (func (export "nothing")))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, 0);
    let mut spawn = |name| {
        let instance = linker.instantiate_async(&mut store, &module);
        let instance = one_worker().block_on(instance).unwrap();
        let func = instance.get_func(&mut store, name).unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap()
    };
    let (keeper, other) = (spawn("f"), spawn("nothing"));
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        for _ in 0..3 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(futures.live(), 1);
    }
    assert_eq!(futures.live(), 0, "{source}");
    assert!(matches!(keeper.take_exit(&mut store), Some(Exit::Killed)));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(matches!(
        other.take_exit(&mut store),
        Some(Exit::Returned(_))
    ));
    assert_eq!(*store.data(), 0);
}

#[test]
fn a_future_that_is_forgotten_leaks_the_thread_that_keeps_the_store_and_nothing_else() {
    let engine = engine(Preemption::Epoch);
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap_async("host", "f", |_: Caller<'_, ()>, ()| {
            Box::new(future::pending::<()>())
        })
        .unwrap();
    let wat = r#"(module
        (import "host" "f" (func $f))
        (func (export "f") (call $f))
        (func (export "spin") (loop (br 0))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    for name in ["spin", "f", "spin"] {
        let instance = linker.instantiate_async(&mut store, &module);
        let instance = one_worker().block_on(instance).unwrap();
        let func = instance.get_func(&mut store, name).unwrap();
        store.spawn_wasm_thread(func, &[]).unwrap();
    }
    store.wasm_threads().set_slice(Slice::Time(ms(1))).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = Box::pin(store.run_wasm_threads_async(Duration::MAX));
    for _ in 0..3 {
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    std::mem::forget(run);
    // The thread that kept the store has no stack any more. The others go on.
    store.run_wasm_threads_for(ms(50)).unwrap();
    let states: Vec<_> = store
        .wasm_threads()
        .iter()
        .map(|thread| thread.state)
        .collect();
    use ThreadState::{Finished, Ready};
    assert_eq!(states, [Ready, Finished, Ready]);
    assert_eq!(store.shutdown_wasm_threads(), 2);
}
