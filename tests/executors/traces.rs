//! In the trace of a run in an executor, a thread that keeps the store between two polls stays on
//! the CPU of a run that goes on.

use super::one_worker;
use crate::support::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_run_goes_on_between_two_polls,
    a_run_ends_when_its_future_is_dropped,
    a_run_ends_when_its_leaked_future_is_given_up,
);

/// A store whose only thread keeps it for so many polls.
fn keeper(source: Preemption, polls: u32) -> Store<()> {
    let engine = engine(source);
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap_async("", "keep", move |_: Caller<'_, ()>, (): ()| {
            let mut left = polls;
            Box::new(std::future::poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                match left.checked_sub(1) {
                    None => Poll::Ready(()),
                    Some(fewer) => {
                        left = fewer;
                        Poll::Pending
                    }
                }
            }))
        })
        .unwrap();
    let wat = r#"(module (import "" "keep" (func $keep)) (func (export "f") (call $keep)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let instance = linker.instantiate_async(&mut store, &module);
    let instance = one_worker().block_on(instance).unwrap();
    spawn_in(&mut store, instance, "f", &[]);
    store
}

/// What happened, without slices.
fn words(source: Preemption, store: &mut Store<()>) -> Vec<String> {
    let trace = take_trace(store);
    let report = checker(source).all_finished(true).check(&trace);
    assert!(report.is_ok(), "{report}");
    let word = |event: &TraceEvent| match event.what {
        Traced::Dispatched { .. } => "Dispatched".to_string(),
        what => format!("{what:?}"),
    };
    trace.events.iter().map(word).collect()
}

fn a_run_goes_on_between_two_polls(source: Preemption) {
    let mut store = keeper(source, 3);
    let run = store.run_wasm_threads_async(Duration::MAX);
    assert_eq!(one_worker().block_on(run).unwrap().end, RunEnd::AllFinished);
    let expected = [
        "Spawned",
        "RunStarted",
        "Dispatched",
        "Returned",
        "RunEnded",
    ];
    assert_eq!(words(source, &mut store), expected);
}

fn a_run_ends_when_its_future_is_dropped(source: Preemption) {
    let mut store = keeper(source, u32::MAX);
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut run = pin!(store.run_wasm_threads_async(Duration::MAX));
        for _ in 0..3 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
        }
    }
    let expected = ["Spawned", "RunStarted", "Dispatched", "Killed", "RunEnded"];
    assert_eq!(words(source, &mut store), expected);
}

fn a_run_ends_when_its_leaked_future_is_given_up(source: Preemption) {
    let mut store = keeper(source, u32::MAX);
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = Box::pin(store.run_wasm_threads_async(Duration::MAX));
    assert!(run.as_mut().poll(&mut cx).is_pending());
    std::mem::forget(run);
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    let expected = [
        "Spawned",
        "RunStarted",
        "Dispatched",
        "Killed",
        "RunEnded",
        "RunStarted",
        "RunEnded",
    ];
    assert_eq!(words(source, &mut store), expected);
}
