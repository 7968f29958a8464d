#![cfg(not(miri))]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

const MODULE: &str = r#"
    (module
        (func $fib (export "fib") (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else
                    (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
        (func (export "spin") (loop (br 0)))
        (func (export "trap") unreachable)
    )
"#;

fn engine(preemption: Preemption) -> Result<Engine> {
    Engine::new(Config::new().preemption(preemption))
}

/// A store with short slices.
fn store(engine: &Engine, preemption: Preemption) -> Result<Store<()>> {
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_slice(match preemption {
        Preemption::Fuel => Slice::Fuel(1_000),
        _ => Slice::Time(Duration::from_micros(100)),
    })?;
    Ok(store)
}

fn each(test: impl Fn(Preemption) -> Result<()>) -> Result<()> {
    test(Preemption::Fuel)?;
    test(Preemption::Epoch)?;
    test(Preemption::for_this_host())
}

fn spawn(store: &mut Store<()>, module: &Module, name: &str, params: &[Val]) -> Result<ThreadId> {
    let instance = Instance::new(&mut *store, module, &[])?;
    let func = instance.get_func(&mut *store, name).unwrap();
    store.spawn_wasm_thread(func, params)
}

fn assert_returned(store: &mut Store<()>, id: ThreadId) {
    let exit = id.take_exit(&mut *store);
    assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
}

#[test]
fn spinning_threads_do_not_starve_others() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        spawn(&mut store, &module, "spin", &[])?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(20)])?;
        spawn(&mut store, &module, "spin", &[])?;
        while fib.info(&store).unwrap().state != ThreadState::Finished {
            let run = store.run_wasm_threads_for(Duration::from_millis(10))?;
            assert_eq!(run.end, RunEnd::TimeUp);
        }
        match fib.take_exit(&mut store) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 6765),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.shutdown_wasm_threads(), 2);
        Ok(())
    })
}

#[test]
fn typed_results() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let instance = Instance::new(&mut store, &module, &[])?;
            let fib = instance.get_typed_func::<i32, i32>(&mut store, "fib")?;
            ids.push(ThreadOptions::new().spawn_typed(&mut store, &fib, 18)?);
        }
        let run = store.run_wasm_threads_for(Duration::MAX)?;
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 3));
        for id in ids {
            let exit = id.take_exit(&mut store);
            assert!(matches!(exit, Some(TypedExit::Returned(2584))));
            assert!(id.take_exit(&mut store).is_none());
        }
        Ok(())
    })
}

#[test]
fn a_trap_ends_its_thread_only() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(18)])?;
        let trap = spawn(&mut store, &module, "trap", &[])?;
        store.run_wasm_threads_for(Duration::MAX)?;
        match trap.take_exit(&mut store) {
            Some(Exit::Trapped(error)) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
                assert!(error.is::<WasmBacktrace>());
            }
            other => panic!("{other:?}"),
        }
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn dropping_a_store_unwinds_its_threads() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        for _ in 0..10 {
            spawn(&mut store, &module, "spin", &[])?;
        }
        store.run_wasm_threads_for(Duration::from_millis(5))?;
        spawn(&mut store, &module, "spin", &[])?;
        std::thread::spawn(move || drop(store)).join().unwrap();
        Ok(())
    })
}

#[test]
fn host_functions_may_call_back_and_spawn() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let fib = instance.get_typed_func::<i32, i32>(&mut store, "fib")?;
        let calls = Arc::new(AtomicUsize::new(0));
        let called = calls.clone();
        let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
            called.fetch_add(1, SeqCst);
            assert!(caller.wasm_threads().current().is_some());
            caller.spawn_wasm_thread(*fib.func(), &[Val::I32(5)])?;
            assert!(
                caller
                    .as_context_mut()
                    .run_wasm_threads_for(Duration::MAX)
                    .is_err()
            );
            fib.call(&mut caller, 15)
        });
        let host = store.spawn_wasm_thread(host, &[])?;
        let run = store.run_wasm_threads_for(Duration::MAX)?;
        assert_eq!((run.finished, calls.load(SeqCst)), (2, 1));
        match host.take_exit(&mut store) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 610),
            other => panic!("{other:?}"),
        }
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
fn fuel_is_counted_per_thread() -> Result<()> {
    let engine = Engine::new(
        Config::new()
            .preemption(Preemption::Fuel)
            .consume_fuel(true),
    )?;
    let module = Module::new(&engine, MODULE)?;
    let mut store = store(&engine, Preemption::Fuel)?;
    store.set_fuel(1_000_000)?;
    let a = spawn(&mut store, &module, "fib", &[Val::I32(15)])?;
    let b = spawn(&mut store, &module, "fib", &[Val::I32(15)])?;
    store.run_wasm_threads_for(Duration::MAX)?;
    let used = |id: ThreadId| id.info(&store).unwrap().stats.fuel_consumed;
    assert_eq!(used(a), used(b));
    assert_eq!(store.get_fuel()?, 1_000_000 - used(a) - used(b));

    let spin = spawn(&mut store, &module, "spin", &[])?;
    store.run_wasm_threads_for(Duration::MAX)?;
    match spin.take_exit(&mut store) {
        Some(Exit::Trapped(error)) => {
            assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel))
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[test]
fn bad_input_is_an_error() -> Result<()> {
    let mut plain = Store::<()>::default();
    let func = Func::wrap(&mut plain, || {});
    assert!(plain.spawn_wasm_thread(func, &[]).is_err());
    assert!(plain.run_wasm_threads_for(Duration::MAX).is_err());

    let engine = engine(Preemption::Epoch)?;
    let mut store = store(&engine, Preemption::Epoch)?;
    assert!(store.spawn_wasm_thread(func, &[]).is_err());
    assert!(
        store
            .wasm_threads()
            .set_slice(Slice::Time(Duration::ZERO))
            .is_err()
    );
    assert!(store.wasm_threads().set_slice(Slice::Fuel(1)).is_err());
    let func = Func::wrap(&mut store, |_: i32| {});
    assert!(store.spawn_wasm_thread(func, &[]).is_err());
    assert!(store.spawn_wasm_thread(func, &[Val::I64(1)]).is_err());
    store.wasm_threads().set_max_threads(1)?;
    store.spawn_wasm_thread(func, &[Val::I32(1)])?;
    assert!(store.spawn_wasm_thread(func, &[Val::I32(1)]).is_err());
    assert_eq!(store.wasm_threads().iter().count(), 1);
    Ok(())
}

#[test]
fn a_panic_of_a_host_function_unwinds_out_of_the_run() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(18)])?;
        let panics = Func::wrap(&mut store, || -> () { panic!("on purpose") });
        let panics = store.spawn_wasm_thread(panics, &[])?;
        let run = std::panic::AssertUnwindSafe(|| store.run_wasm_threads_for(Duration::MAX));
        let panic = std::panic::catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert!(matches!(
            panics.take_exit(&mut store),
            Some(Exit::Trapped(_))
        ));
        store.run_wasm_threads_for(Duration::MAX)?;
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn a_run_inside_a_run_suspends_threads_of_both() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut inner = store(&engine, preemption)?;
        let ids = [
            spawn(&mut inner, &module, "spin", &[])?,
            spawn(&mut inner, &module, "spin", &[])?,
        ];
        let mut outer = store(&engine, preemption)?;
        let spin = spawn(&mut outer, &module, "spin", &[])?;
        let inner = Mutex::new(inner);
        let host = Func::wrap(&mut outer, move || -> Result<u32> {
            let mut inner = inner.lock().unwrap();
            // Until each has been preempted.
            while ids
                .iter()
                .any(|id| id.info(&*inner).unwrap().stats.dispatches < 2)
            {
                inner.run_wasm_threads_for(Duration::from_millis(5))?;
            }
            Ok(inner.shutdown_wasm_threads() as u32)
        });
        let host = outer.spawn_wasm_thread(host, &[])?;
        while host.info(&outer).unwrap().state != ThreadState::Finished {
            outer.run_wasm_threads_for(Duration::from_millis(5))?;
        }
        match host.take_exit(&mut outer) {
            Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), 2),
            other => panic!("{other:?}"),
        }
        assert!(spin.info(&outer).unwrap().stats.dispatches > 0);
        Ok(())
    })
}

#[test]
fn slices_do_not_bring_an_embedders_deadline_nearer() -> Result<()> {
    let engine = engine(Preemption::Epoch)?;
    let module = Module::new(&engine, MODULE)?;
    let mut store = store(&engine, Preemption::Epoch)?;
    store.set_epoch_deadline(1);
    let ids = [
        spawn(&mut store, &module, "spin", &[])?,
        spawn(&mut store, &module, "spin", &[])?,
    ];
    while ids
        .iter()
        .any(|id| id.info(&store).unwrap().stats.preemptions < 5)
    {
        let run = store.run_wasm_threads_for(Duration::from_millis(10))?;
        assert_eq!(run.finished, 0);
    }
    engine.increment_epoch();
    let run = store.run_wasm_threads_for(Duration::MAX)?;
    assert_eq!(run.finished, 2);
    for id in ids {
        match id.take_exit(&mut store) {
            Some(Exit::Trapped(error)) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt))
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

#[test]
fn suspended_threads_keep_their_objects() -> Result<()> {
    for collector in [Collector::DeferredReferenceCounting, Collector::Copying] {
        let mut config = Config::new();
        config
            .preemption(Preemption::Fuel)
            .wasm_function_references(true)
            .wasm_gc(true)
            .collector(collector);
        let engine = Engine::new(&config)?;
        let module = Module::new(
            &engine,
            r#"
                (module
                    (import "" "gc" (func $gc))
                    (type $box (struct (field i32)))
                    (func (export "hold") (param $n i32) (result i32)
                        (local $box (ref $box))
                        (local.set $box (struct.new $box (local.get $n)))
                        (loop $again
                            (br_if $again
                                (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                        (struct.get $box 0 (local.get $box)))
                    (func (export "collect") (param $n i32)
                        (loop $again
                            (drop (struct.new $box (i32.const -1)))
                            (call $gc)
                            (br_if $again
                                (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
                )
            "#,
        )?;
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(Slice::Fuel(1))?;
        let gc = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| caller.gc(None));
        let instance = Instance::new(&mut store, &module, &[gc.into()])?;
        let hold = instance.get_func(&mut store, "hold").unwrap();
        let collect = instance.get_func(&mut store, "collect").unwrap();
        let mut ids = Vec::new();
        for n in 20..30 {
            ids.push((n, store.spawn_wasm_thread(hold, &[Val::I32(n)])?));
        }
        store.spawn_wasm_thread(collect, &[Val::I32(20)])?;
        store.run_wasm_threads_for(Duration::MAX)?;
        for (n, id) in ids {
            match id.take_exit(&mut store) {
                Some(Exit::Returned(values)) => assert_eq!(values[0].unwrap_i32(), n),
                other => panic!("{other:?}"),
            }
        }
    }
    Ok(())
}

/// The highest priority first, and the oldest among equals.
#[derive(Default)]
struct Priorities(std::collections::BTreeMap<ThreadId, (i32, bool)>);

impl Priorities {
    fn set_ready(&mut self, thread: ThreadId, is_ready: bool) {
        if let Some((_, ready)) = self.0.get_mut(&thread) {
            *ready = is_ready;
        }
    }
}

impl ThreadScheduler for Priorities {
    fn spawned(&mut self, _: u64, thread: ThreadId, params: &ThreadParams) {
        self.0.insert(thread, (params.priority, true));
    }
    fn preempted(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, true);
    }
    fn yielded(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, true);
    }
    fn parked(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.set_ready(thread, false);
    }
    fn woken(&mut self, _: u64, thread: ThreadId) {
        self.set_ready(thread, true);
    }
    fn changed(&mut self, _: u64, thread: ThreadId, params: &ThreadParams) {
        if let Some((priority, _)) = self.0.get_mut(&thread) {
            *priority = params.priority;
        }
    }
    fn finished(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.0.remove(&thread);
    }
    fn next(&mut self, _: u64) -> Option<Pick> {
        let ready = self.0.iter().filter(|(_, (_, ready))| *ready);
        let (thread, _) =
            ready.max_by_key(|(id, (priority, _))| (*priority, u64::MAX - id.as_u64()))?;
        let thread = *thread;
        self.set_ready(thread, false);
        Some(Pick {
            thread,
            slice: None,
        })
    }
}

#[test]
fn a_scheduler_decides_who_is_next() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        store.wasm_threads().set_scheduler(Priorities::default())?;
        store.wasm_threads().set_trace(10_000)?;
        for priority in [1, 3, 2] {
            let instance = Instance::new(&mut store, &module, &[])?;
            let fib = instance.get_func(&mut store, "fib").unwrap();
            let options = ThreadOptions::new().priority(priority);
            options.spawn(&mut store, fib, &[Val::I32(18)])?;
        }
        store.run_wasm_threads_for(Duration::MAX)?;
        let trace = store.wasm_threads().take_trace().unwrap();
        let returned = trace.events.iter().filter(|e| e.what == Traced::Returned);
        let order: Vec<u64> = returned.map(|e| e.thread.as_u64()).collect();
        assert_eq!(order, [2, 3, 1]);
        Ok(())
    })
}

#[test]
fn a_limit_ends_its_own_thread_only() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let spin = instance.get_func(&mut store, "spin").unwrap();
        let limit = Duration::from_millis(5);
        let options = ThreadOptions::new().cpu_limit(limit);
        let limited = options.spawn(&mut store, spin, &[])?;
        let fib = spawn(&mut store, &module, "fib", &[Val::I32(20)])?;
        let run = store.run_wasm_threads_for(Duration::MAX)?;
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
        match limited.take_exit(&mut store) {
            Some(Exit::OverLimit(OverLimit::CpuTime { used, .. })) => assert!(used >= limit),
            other => panic!("{other:?}"),
        }
        assert_returned(&mut store, fib);
        Ok(())
    })
}

#[test]
fn another_os_thread_can_kill_a_guest_thread() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = store(&engine, preemption)?;
        let id = spawn(&mut store, &module, "spin", &[])?;
        let handle = id.remote(&mut store)?;
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            handle.kill();
        });
        store.run_wasm_threads_for(Duration::MAX)?;
        killer.join().unwrap();
        assert!(matches!(id.take_exit(&mut store), Some(Exit::Killed)));
        Ok(())
    })
}

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

#[test]
fn a_start_function_is_preempted() -> Result<()> {
    each(|preemption| {
        let engine = engine(preemption)?;
        let module = Module::new(&engine, "(module (func $spin (loop (br 0))) (start $spin))")?;
        let pre = Linker::new(&engine).instantiate_pre(&module)?;
        let mut store = store(&engine, preemption)?;
        let options = ThreadOptions::new;
        let spin = options().spawn_instance(&mut store, &pre, |_, _| unreachable!())?;
        let others = Module::new(&engine, MODULE)?;
        let fib = spawn(&mut store, &others, "fib", &[Val::I32(15)])?;
        while fib.info(&store).unwrap().state != ThreadState::Finished {
            store.run_wasm_threads_for(Duration::from_millis(10))?;
        }
        assert_returned(&mut store, fib);
        assert_eq!(store.shutdown_wasm_threads(), 1);
        assert!(matches!(spin.take_exit(&mut store), Some(Exit::Killed)));
        Ok(())
    })
}
