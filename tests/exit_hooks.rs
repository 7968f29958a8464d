//! The hook of a thread's end: called once, in the run or the shutdown, whichever way the
//! thread has ended.

use crate::support::*;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

type Ends = Vec<(u64, String)>;

fn engine(source: Preemption) -> (Engine, Module) {
    let engine = Engine::new(&config(source)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    (engine, module)
}

fn spawn(store: &mut Store<Ends>, module: &Module, name: &str, options: ThreadOptions) -> ThreadId {
    let instance = Instance::new(&mut *store, module, &[]).unwrap();
    let func = instance.get_func(&mut *store, name).unwrap();
    options.spawn(&mut *store, func, &[]).unwrap()
}

fn log_end(mut store: StoreContextMut<'_, Ends>, id: ThreadId) {
    assert_eq!(store.wasm_threads().current(), None);
    let what = match id.take_exit(&mut store) {
        Some(Exit::Returned(_)) => "returned",
        Some(Exit::Trapped(_)) => "trapped",
        Some(Exit::Killed) => "killed",
        Some(Exit::OverLimit(_)) => "over its limit",
        exit => panic!("{exit:?}"),
    };
    store.data_mut().push((id.as_u64(), what.to_string()));
}

#[test]
fn it_is_called_once_for_each_way_to_end() {
    for source in sources() {
        let (engine, module) = engine(source);
        let mut store = Store::new(&engine, Ends::new());
        let limited = ThreadOptions::new().timeout(ms(20));
        let ids = [
            spawn(&mut store, &module, "answer", ThreadOptions::new()),
            spawn(
                &mut store,
                &module,
                "trap",
                ThreadOptions::new().detached(true),
            ),
            spawn(&mut store, &module, "spin", limited),
            spawn(&mut store, &module, "spin", ThreadOptions::new()),
            spawn(
                &mut store,
                &module,
                "spin",
                ThreadOptions::new().detached(true),
            ),
        ];
        for id in ids {
            id.on_exit(&mut store, log_end).unwrap();
        }
        while store.data().len() < 3 {
            store.run_wasm_threads_for(ms(10)).unwrap();
        }
        // The limit may be reached first.
        store.data_mut().sort();
        ids[3].kill(&mut store).unwrap();
        store.shutdown_wasm_threads();
        let ends = ["returned", "trapped", "over its limit", "killed", "killed"];
        let ends = (1..).zip(ends.map(String::from));
        assert_eq!(*store.data(), ends.collect::<Ends>(), "{source}");
        assert_eq!(store.wasm_threads().iter().count(), 0, "{source}");
    }
}

#[test]
fn it_may_spawn_and_kill() {
    let (engine, module) = engine(Preemption::Epoch);
    let mut store = Store::new(&engine, Ends::new());
    let spin = spawn(&mut store, &module, "spin", ThreadOptions::new());
    let first = spawn(&mut store, &module, "answer", ThreadOptions::new());
    spin.on_exit(&mut store, log_end).unwrap();
    first
        .on_exit(&mut store, move |mut store, id| {
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let func = instance.get_func(&mut store, "answer").unwrap();
            let next = store.spawn_wasm_thread(func, &[]).unwrap();
            next.on_exit(&mut store, log_end).unwrap();
            spin.kill(&mut store).unwrap();
            log_end(store, id);
        })
        .unwrap();
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 3));
    let mut ends = store.data().clone();
    ends.sort();
    let expected = [(1, "killed"), (2, "returned"), (3, "returned")];
    assert_eq!(ends, expected.map(|(id, how)| (id, how.to_string())));
}

#[test]
fn its_panic_comes_out_of_the_run_and_loses_nothing() {
    let (engine, module) = engine(Preemption::Epoch);
    let mut store = Store::new(&engine, Ends::new());
    let ids = [(); 2].map(|()| spawn(&mut store, &module, "answer", ThreadOptions::new()));
    ids[0]
        .on_exit(&mut store, |_, _| panic!("of the hook"))
        .unwrap();
    ids[1].on_exit(&mut store, log_end).unwrap();
    let run = || store.run_wasm_threads_for(Duration::MAX);
    assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    assert_eq!(*store.data(), [(2, "returned".to_string())]);
    assert!(matches!(
        ids[0].take_exit(&mut store),
        Some(Exit::Returned(_))
    ));
}

#[test]
fn one_that_a_dropped_store_still_has_is_called() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let (engine, module) = engine(Preemption::Epoch);
    let called = Arc::new(AtomicBool::new(false));
    let mut store = Store::new(&engine, Ends::new());
    let id = spawn(&mut store, &module, "spin", ThreadOptions::new());
    let hook = called.clone();
    id.on_exit(&mut store, move |_, _| hook.store(true, Ordering::SeqCst))
        .unwrap();
    drop(store);
    assert!(called.load(Ordering::SeqCst));
}

#[test]
fn a_thread_that_has_finished_or_never_was_gets_none() {
    let (engine, module) = engine(Preemption::Epoch);
    let mut store = Store::new(&engine, Ends::new());
    let id = spawn(&mut store, &module, "answer", ThreadOptions::new());
    store.run_wasm_threads_for(Duration::MAX).unwrap();
    let error = id.on_exit(&mut store, log_end).unwrap_err();
    assert!(
        error.to_string().contains("guest thread 1 has finished"),
        "{error}"
    );
    let error = ThreadId::from_u64(9).on_exit(&mut store, log_end);
    assert!(error.unwrap_err().to_string().contains("no guest thread 9"));
}

#[test]
fn whom_it_kills_is_not_dispatched_again() {
    for source in [Preemption::Fuel, Preemption::for_this_host()] {
        let (engine, module) = engine(source);
        let mut store = Store::new(&engine, Ends::new());
        let first = spawn(&mut store, &module, "answer", ThreadOptions::new());
        let spin = spawn(&mut store, &module, "spin", ThreadOptions::new());
        first
            .on_exit(&mut store, move |mut store, _| {
                spin.kill(&mut store).unwrap();
            })
            .unwrap();
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
        assert_eq!(run.dispatches, 1, "{source}");
    }
}

#[test]
fn whom_it_kills_outside_of_a_run_is_ended_at_once() {
    let (engine, module) = engine(Preemption::Fuel);
    let mut store = Store::new(&engine, Ends::new());
    let spins = [(); 2].map(|()| spawn(&mut store, &module, "spin", ThreadOptions::new()));
    spins[0]
        .on_exit(&mut store, move |mut store, _| {
            spins[1].kill(&mut store).unwrap();
        })
        .unwrap();
    spins[0].kill(&mut store).unwrap();
    let state = spins[1].info(&store).unwrap().state;
    assert_eq!(state, ThreadState::Finished);
}

#[test]
fn a_shutdown_calls_those_that_a_panic_has_left() {
    let (engine, module) = engine(Preemption::Fuel);
    let mut store = Store::new(&engine, Ends::new());
    let ids = [(); 2].map(|()| spawn(&mut store, &module, "spin", ThreadOptions::new()));
    ids[0]
        .on_exit(&mut store, |_, _| panic!("of the hook"))
        .unwrap();
    ids[1].on_exit(&mut store, log_end).unwrap();
    let shutdown = || store.shutdown_wasm_threads();
    assert!(panic::catch_unwind(AssertUnwindSafe(shutdown)).is_err());
    store.shutdown_wasm_threads();
    assert_eq!(*store.data(), [(2, "killed".to_string())]);
}

#[test]
fn one_that_starts_its_thread_again_does_not_keep_a_shutdown_from_ending() {
    fn again(mut store: StoreContextMut<'_, Option<Func>>, id: ThreadId) {
        id.take_exit(&mut store);
        let func = store.data().unwrap();
        match store.spawn_wasm_thread(func, &[]) {
            Ok(id) => id.on_exit(&mut store, again).unwrap(),
            Err(error) => assert!(error.to_string().contains("shut down"), "{error}"),
        }
    }
    must_end(|| {
        let (engine, module) = engine(Preemption::Fuel);
        let mut store = Store::new(&engine, None);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let spin = instance.get_func(&mut store, "spin").unwrap();
        *store.data_mut() = Some(spin);
        for _ in 0..2 {
            let id = store.spawn_wasm_thread(spin, &[]).unwrap();
            id.on_exit(&mut store, again).unwrap();
            store.run_wasm_threads_for(ms(2)).unwrap();
            assert_eq!(store.shutdown_wasm_threads(), 1);
        }
        let id = store.spawn_wasm_thread(spin, &[]).unwrap();
        id.on_exit(&mut store, again).unwrap();
        drop(store);
    });
}
