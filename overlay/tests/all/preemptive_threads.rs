#![cfg(not(miri))]

mod ending;
mod scheduling;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
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
