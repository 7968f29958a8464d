//! What the future of a host function may do with the store, and when.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

#[test]
fn an_accessor_works_only_while_its_future_is_polled() {
    let engine = engine(Preemption::Fuel);
    let nested = Arc::new(AtomicBool::new(false));
    let mut linker = Linker::<u32>::new(&engine);
    let found = nested.clone();
    linker
        .func_wrap_concurrent("host", "f", move |accessor, ()| {
            let found = found.clone();
            Box::pin(async move {
                accessor.with(|_| {
                    let inner = accessor.with(|mut caller| *caller.data_mut() += 1);
                    let error = inner.unwrap_err().to_string();
                    found.store(error.contains("not within"), Ordering::SeqCst);
                })?;
                thread::scope(|scope| {
                    let elsewhere = scope.spawn(|| accessor.with(|_| ()).is_err());
                    assert!(elsewhere.join().unwrap());
                });
                accessor.with(|mut caller| *caller.data_mut() += 1)
            })
        })
        .unwrap();
    let wat = r#"(module (import "host" "f" (func $f)) (func (export "run") (call $f)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    store.spawn_wasm_thread(run, &[]).unwrap();
    store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert!(nested.load(Ordering::SeqCst));
    assert_eq!(*store.data(), 1);
}

#[test]
fn gc_references_are_refused_when_the_function_is_defined() {
    let engine = engine(Preemption::Fuel);
    let mut linker = Linker::<()>::new(&engine);
    let defined =
        linker.func_wrap_concurrent("host", "f", |_, (_,): (Option<Rooted<ExternRef>>,)| {
            Box::pin(async {})
        });
    let error = defined.unwrap_err().to_string();
    assert!(
        error.contains("neither take nor return GC references"),
        "{error}"
    );
}

#[test]
fn what_a_parked_thread_holds_is_not_collected() {
    for source in [Preemption::Fuel, Preemption::Epoch] {
        let mut config = config(source);
        config.wasm_gc(true).wasm_function_references(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap_concurrent("host", "f", |accessor, ()| {
                Box::pin(async move {
                    accessor.sleep(ms(5)).await?;
                    accessor.with(|mut caller| caller.gc(None))?
                })
            })
            .unwrap();
        let wat = r#"(module
            (import "host" "f" (func $f))
            (type $box (struct (field i32)))
            (func (export "f") (param i32) (result i32)
              (local $box (ref null $box))
              (local.set $box (struct.new $box (local.get 0)))
              (call $f)
              (drop (struct.new $box (i32.const -1)))
              (call $f)
              (struct.get $box 0 (local.get $box))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let ids = [1, 2, 3, 4].map(|n| {
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let func = instance.get_func(&mut store, "f").unwrap();
            (n, store.spawn_wasm_thread(func, &[Val::I32(n)]).unwrap())
        });
        while store.run_wasm_threads_for(ms(1)).unwrap().end == RunEnd::TimeUp {
            store.gc(None).unwrap();
        }
        for (n, id) in ids {
            let exit = id.take_exit(&mut store);
            let Some(Exit::Returned(values)) = exit else {
                panic!("{exit:?}");
            };
            assert_eq!(values[0].unwrap_i32(), n, "{source}");
        }
    }
}

/// It has no frames of Wasm.
#[test]
fn garbage_is_collected_while_a_thread_is_parked_that_is_a_host_function() {
    for source in sources() {
        let mut config = config(source);
        config.wasm_gc(true).wasm_function_references(true);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap_concurrent("host", "f", |accessor, ()| {
                Box::pin(async move { accessor.sleep(ms(20)).await })
            })
            .unwrap();
        let wat = r#"(module (import "host" "f" (func $f)) (export "f" (func $f)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let func = instance.get_func(&mut store, "f").unwrap();
        let id = store.spawn_wasm_thread(func, &[]).unwrap();
        let kept = ExternRef::new(&mut store, 7_u32).unwrap();
        while store.run_wasm_threads_for(ms(1)).unwrap().end == RunEnd::TimeUp {
            store.gc(None).unwrap();
        }
        assert_eq!(returned(&mut store, id).len(), 0);
        let data = kept.data(&store).unwrap();
        assert_eq!(data.unwrap().downcast_ref(), Some(&7_u32));
    }
}
