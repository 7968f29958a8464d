//! Threads that wait, for host functions, atomics, or each other.

use super::{MODULE, assert_returned, each, engine, spawn, store};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn a_thread_waits_while_others_run() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap_concurrent("", "nap", |accessor, ()| {
            Box::pin(async move { accessor.sleep(Duration::from_millis(5)).await })
        })?;
        let module = Module::new(
            &engine,
            r#"(module
                (import "" "nap" (func $nap))
                (func (export "run") (call $nap) (call $nap)))"#,
        )?;
        let others = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let mut sleepers = Vec::new();
        for _ in 0..3 {
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_func(&mut store, "run").unwrap();
            sleepers.push(store.spawn_wasm_thread(run, &[])?);
        }
        let spin = spawn(&mut store, &others, "spin", &[])?;
        let is_live = |store: &Store<()>, id: &ThreadId| {
            id.info(store).unwrap().state != ThreadState::Finished
        };
        while sleepers.iter().any(|id| is_live(&store, id)) {
            store.run_wasm_threads_for(Duration::from_millis(5))?;
        }
        assert!(spin.info(&store).unwrap().stats.dispatches > 1);
        sleepers
            .iter()
            .for_each(|id| assert_returned(&mut store, *id));
        Ok(())
    })
}

#[test]
fn a_pending_host_future_keeps_the_store() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let mut store = store(&engine, preemption)?;
        let host = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (): ()| {
            Box::new(async {
                let mut waker = None;
                std::future::poll_fn(|cx| {
                    if waker.replace(cx.waker().clone()).is_some() {
                        return std::task::Poll::Ready(());
                    }
                    let waker = cx.waker().clone();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(5));
                        waker.wake();
                    });
                    std::task::Poll::Pending
                })
                .await;
                7
            })
        });
        let id = store.spawn_wasm_thread(host, &[])?;
        let run = store.run_wasm_threads_for(Duration::MAX)?;
        assert_eq!(run.dispatches, 1);
        match id.take_exit(&mut store) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 7),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
}

#[test]
fn an_atomic_wait_parks_its_thread() -> Result<()> {
    each(|preemption| {
        let mut config = Config::new();
        config.preemption(preemption).shared_memory(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(
            &engine,
            r#"(module
                (import "" "memory" (memory 1 1 shared))
                (func (export "wait") (result i32)
                    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
                (func (export "notify") (result i32)
                    (i32.atomic.store (i32.const 0) (i32.const 1))
                    (memory.atomic.notify (i32.const 0) (i32.const 10))))"#,
        )?;
        let mut store = store(&engine, preemption)?;
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1))?;
        let mut threads = Vec::new();
        for name in ["wait", "wait", "notify"] {
            let instance = Instance::new(&mut store, &module, &[memory.clone().into()])?;
            let func = instance.get_typed_func::<(), i32>(&mut store, name)?;
            threads.push(ThreadOptions::new().spawn_typed(&mut store, &func, ())?);
        }
        let run = store.run_wasm_threads_for(Duration::from_secs(60))?;
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 3));
        let results = threads
            .into_iter()
            .map(|id| match id.take_exit(&mut store) {
                Some(TypedExit::Returned(result)) => result,
                exit => panic!("{exit:?}"),
            });
        assert_eq!(results.collect::<Vec<_>>(), [0, 0, 2]);
        Ok(())
    })
}

#[test]
fn a_deadlock_is_found() -> Result<()> {
    let engine = engine(Preemption::Fuel)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap_concurrent("", "join", |accessor, (id,): (i64,)| {
        Box::pin(async move { accessor.join(ThreadId::from_u64(id as u64)).await })
    })?;
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "join" (func $join (param i64)))
            (func (export "run") (param i64) (call $join (local.get 0))))"#,
    )?;
    let mut ids = Vec::new();
    for other in [2, 1] {
        let instance = linker.instantiate(&mut store, &module)?;
        let run = instance.get_func(&mut store, "run").unwrap();
        ids.push(store.spawn_wasm_thread(run, &[Val::I64(other)])?);
    }
    let run = store.run_wasm_threads_for(Duration::MAX)?;
    assert_eq!(run.end, RunEnd::Deadlock);
    let waits = [
        (ids[0], WaitFor::Thread(ids[1])),
        (ids[1], WaitFor::Thread(ids[0])),
    ];
    assert_eq!(run.deadlocked, waits);
    Ok(())
}
