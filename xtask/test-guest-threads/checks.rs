//! That the calls of the tests beside this file are guest threads, if `GUEST_CALLS` asks for it.

#[test]
fn calls_of_components() -> wasmtime::Result<()> {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store, StoreContextMut};

    let engine = Engine::default();
    let component = Component::new(
        &engine,
        r#"(component
            (import "on-thread" (func $on-thread (result bool)))
            (core func $on-thread (canon lower (func $on-thread)))
            (core module $m
                (import "" "on-thread" (func $on-thread (result i32)))
                (func (export "f") (result i32) (local $n i32)
                    (local.set $n (i32.const 100_000_000))
                    (loop $again
                        (br_if $again
                            (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (call $on-thread)))
            (core instance $i (instantiate $m
                (with "" (instance (export "on-thread" (func $on-thread))))))
            (func (export "f") (result bool) (canon lift (core func $i "f"))))"#,
    )?;
    let mut linker = Linker::<()>::new(&engine);
    let on_thread = |mut store: StoreContextMut<'_, ()>, (): ()| {
        Ok((store.wasm_threads().current().is_some(),))
    };
    linker.root().func_wrap("on-thread", on_thread)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &component)?;
    let f = instance.get_typed_func::<(), (bool,)>(&mut store, "f")?;
    let (on_thread,) = f.call(&mut store, ())?;
    assert_eq!(on_thread, std::env::var_os("GUEST_CALLS").is_some());
    if on_thread {
        // The one that spins has had a slice whenever the other one had.
        let slices: Vec<u64> = (store.wasm_threads().iter())
            .map(|thread| thread.stats.preemptions)
            .collect();
        assert!(slices.len() == 1 && slices[0] > 20, "{slices:?}");
    }
    Ok(())
}

#[test]
fn calls_of_modules() -> wasmtime::Result<()> {
    use wasmtime::{Caller, Engine, Linker, Module, Store, Val};

    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "on-thread" (func $on-thread (result i32)))
            (func (export "f") (result i32) (local $n i32)
                (local.set $n (i32.const 100_000_000))
                (loop $again
                    (br_if $again
                        (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (call $on-thread)))"#,
    )?;
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("", "on-thread", |mut caller: Caller<'_, ()>| {
        i32::from(caller.wasm_threads().current().is_some())
    })?;
    let expected = i32::from(std::env::var_os("GUEST_CALLS").is_some());
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").unwrap();
    let mut results = [Val::I32(0)];
    f.call(&mut store, &[], &mut results)?;
    assert_eq!(results[0].i32(), Some(expected));
    let f = f.typed::<(), i32>(&store)?;
    assert_eq!(f.call(&mut store, ())?, expected);
    Ok(())
}
