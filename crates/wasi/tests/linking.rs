//! The functions are those of upstream, with the same types.

use std::collections::BTreeMap;
use wasmtime::*;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

fn functions(linker: &Linker<WasiP1Ctx>) -> BTreeMap<(String, String), String> {
    let wasi = WasiCtxBuilder::new().build_p1();
    let mut store = Store::new(linker.engine(), wasi);
    let linked: Vec<_> = linker
        .iter(&mut store)
        .map(|(module, name, item)| ((module.to_string(), name.to_string()), item))
        .collect();
    let shown = |item: Extern| format!("{}", item.into_func().unwrap().ty(&store));
    linked
        .into_iter()
        .map(|(name, item)| (name, shown(item)))
        .collect()
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    Engine::new(&config).unwrap()
}

#[test]
fn functions_are_those_of_upstream() {
    let engine = engine();
    let (mut ours, mut upstream) = (Linker::new(&engine), Linker::new(&engine));
    preempt_wasi::p1::add_to_linker(&mut ours, |context| context).unwrap();
    wasmtime_wasi::p1::add_to_linker_sync(&mut upstream, |context| context).unwrap();
    assert_eq!(functions(&ours), functions(&upstream));
}

#[test]
fn defining_them_twice_is_an_error() {
    let mut linker = Linker::<WasiP1Ctx>::new(&engine());
    preempt_wasi::p1::add_to_linker(&mut linker, |context| context).unwrap();
    let error = preempt_wasi::p1::add_to_linker(&mut linker, |context| context).unwrap_err();
    assert!(error.to_string().contains("defined twice"), "{error}");
}

#[test]
fn guest_without_a_memory_traps() {
    let engine = engine();
    let mut linker = Linker::new(&engine);
    preempt_wasi::p1::add_to_linker(&mut linker, |context| context).unwrap();
    let mut store = Store::new(&engine, WasiCtxBuilder::new().build_p1());
    let module = Module::new(
        &engine,
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (func (export "run")
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))"#,
    )
    .unwrap();
    let run = linker.instantiate(&mut store, &module).unwrap();
    let run = run.get_func(&mut store, "run").unwrap();
    let id = store.spawn_wasm_thread(run, &[]).unwrap();
    store
        .run_wasm_threads_for(std::time::Duration::MAX)
        .unwrap();
    match id.take_exit(&mut store) {
        Some(Exit::Trapped(error)) => assert!(format!("{error:?}").contains("`memory`")),
        other => panic!("{other:?}"),
    }
}
