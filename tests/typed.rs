//! Threads whose parameters and results are Rust types.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    values_of_all_types_go_through,
    exits_are_typed,
    an_id_is_good_for_its_own_store_only,
    options_are_taken_too,
    the_untyped_id_is_the_same_thread,
);

fn typed<P: WasmParams, R: WasmResults>(store: &mut Store<()>, wat: &str) -> TypedFunc<P, R> {
    let module = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut *store, &module, &[]).unwrap();
    instance.get_typed_func(store, "f").unwrap()
}

fn output<R: WasmResults>(store: &mut Store<()>, id: TypedThreadId<R>) -> R {
    match id.take_exit(&mut *store) {
        Some(TypedExit::Returned(results)) => results,
        Some(TypedExit::Trapped(error)) => panic!("{error:?}"),
        _ => panic!("should have returned"),
    }
}

fn values_of_all_types_go_through(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    type All = (i32, i64, f32, f64, V128, u32, u64);
    let all = typed::<All, All>(
        &mut store,
        r#"(module (func (export "f")
            (param i32 i64 f32 f64 v128 i32 i64) (result i32 i64 f32 f64 v128 i32 i64)
            (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
            (local.get 5) (local.get 6)))"#,
    );
    let values = (
        -1,
        i64::MIN,
        1.5,
        -0.0,
        V128::from(1 << 100),
        u32::MAX,
        u64::MAX,
    );
    let all = ThreadOptions::new()
        .spawn_typed(&mut store, &all, values)
        .unwrap();

    let nothing = typed::<(), ()>(&mut store, r#"(module (func (export "f")))"#);
    let nothing = ThreadOptions::new()
        .spawn_typed(&mut store, &nothing, ())
        .unwrap();
    let one = typed::<(i32,), (i32,)>(
        &mut store,
        r#"(module (func (export "f") (param i32) (result i32) (local.get 0)))"#,
    );
    let one = ThreadOptions::new()
        .spawn_typed(&mut store, &one, (7,))
        .unwrap();
    let func = typed::<Option<Func>, Option<Func>>(
        &mut store,
        r#"(module (func (export "f") (param funcref) (result funcref) (local.get 0)))"#,
    );
    let answer = Func::wrap(&mut store, || 42);
    let some = ThreadOptions::new()
        .spawn_typed(&mut store, &func, Some(answer))
        .unwrap();
    let none = ThreadOptions::new()
        .spawn_typed(&mut store, &func, None)
        .unwrap();

    run_all(&mut store);
    assert_eq!(output(&mut store, all), values);
    output(&mut store, nothing);
    assert_eq!(output(&mut store, one), (7,));
    let some = output(&mut store, some).unwrap();
    let mut result = [Val::I32(0)];
    some.call(&mut store, &[], &mut result).unwrap();
    assert_eq!(result[0].unwrap_i32(), 42);
    assert!(output(&mut store, none).is_none());
}

fn exits_are_typed(preemption: Preemption) {
    let (mut store, _) = guests(preemption);
    let instance = stateless(&mut store);
    let trap = instance
        .get_typed_func::<(), ()>(&mut store, "trap")
        .unwrap();
    let spin = instance
        .get_typed_func::<(), ()>(&mut store, "spin")
        .unwrap();
    let trap = ThreadOptions::new()
        .spawn_typed(&mut store, &trap, ())
        .unwrap();
    let spin = ThreadOptions::new()
        .spawn_typed(&mut store, &spin, ())
        .unwrap();
    run_until(&mut store, |store| finished(store, trap.id()));
    assert!(spin.take_exit(&mut store).is_none());
    store.shutdown_wasm_threads();
    match trap.take_exit(&mut store) {
        Some(TypedExit::Trapped(error)) => {
            assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
        }
        other => panic!("{other:?}"),
    }
    let exit = spin.take_exit(&mut store);
    assert!(matches!(exit, Some(TypedExit::Killed)));
    assert!(spin.take_exit(&mut store).is_none());
}

fn an_id_is_good_for_its_own_store_only(preemption: Preemption) {
    let engine = engine(preemption);
    let wat = r#"(module (func (export "f") (param i64) (result i64) (local.get 0)))"#;
    let [(mut a, id_a), (mut b, _)] = [1, 2].map(|n| {
        let mut store = Store::new(&engine, ());
        let func = typed::<i64, i64>(&mut store, wat);
        let id = ThreadOptions::new()
            .spawn_typed(&mut store, &func, n)
            .unwrap();
        run_all(&mut store);
        (store, id)
    });
    // The same number, and nothing of `b` is given away.
    assert!(id_a.take_exit(&mut b).is_none());
    assert_eq!(b.wasm_threads().iter().count(), 1);
    assert_eq!(output(&mut a, id_a), 1);
}

fn options_are_taken_too(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let fib = instance
        .get_typed_func::<i32, i32>(&mut store, "fib")
        .unwrap();
    let options = ThreadOptions::new()
        .name("fib")
        .slice(shortest_slice(preemption));
    let id = options.spawn_typed(&mut store, &fib, 20).unwrap();
    let info = id.id().info(&store).unwrap();
    assert_eq!(info.name, Some("fib"));
    assert_eq!(info.slice, shortest_slice(preemption));
    run_all(&mut store);
    assert_eq!(output(&mut store, id), 6_765);
}

fn the_untyped_id_is_the_same_thread(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let fib = instance
        .get_typed_func::<i32, i32>(&mut store, "fib")
        .unwrap();
    let id = ThreadOptions::new()
        .spawn_typed(&mut store, &fib, 10)
        .unwrap();
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, id.id())), [55]);
    assert!(id.take_exit(&mut store).is_none());
}
