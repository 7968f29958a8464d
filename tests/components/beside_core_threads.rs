//! Components of a store with guest threads: a thread that ends early was in none of
//! them, and leaves them as they were.

use crate::support::*;
use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::*;

const COMPONENT: &str = r#"
(component
  (core module $m
    (func (export "answer") (result i32) (i32.const 42))
    (func (export "trap") (result i32) unreachable))
  (core instance $i (instantiate $m))
  (func (export "answer") (result s32) (canon lift (core func $i "answer")))
  (func (export "trap") (result s32) (canon lift (core func $i "trap"))))
"#;

type Answer = TypedFunc<(), (i32,)>;

/// A function of a component.
fn component(store: &mut Store<()>, export: &str) -> Answer {
    let component = Component::new(store.engine(), COMPONENT).unwrap();
    let linker = Linker::new(store.engine());
    let instance = linker.instantiate(&mut *store, &component).unwrap();
    instance.get_typed_func(store, export).unwrap()
}

fn assert_answers(store: &mut Store<()>, answer: &Answer) {
    let (answer,) = answer.call(store, ()).unwrap();
    assert_eq!(answer, 42);
}

for_each_preemption!(
    components_outlive_threads_that_end_early,
    a_component_that_traps_in_a_host_function_of_a_thread_is_not_entered_again,
    a_core_function_that_traps_in_a_host_function_of_a_thread_affects_no_component,
);

fn components_outlive_threads_that_end_early(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let answer = component(&mut store, "answer");
    for export in ["trap", "overflow"] {
        spawn(&mut store, &module, export, &[]);
        run_all(&mut store);
        assert_answers(&mut store, &answer);
    }
    let killed = spawn_spinner(&mut store, &module).0;
    spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(5)).unwrap();
    killed.kill(&mut store).unwrap();
    assert_answers(&mut store, &answer);
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_answers(&mut store, &answer);
}

fn a_component_that_traps_in_a_host_function_of_a_thread_is_not_entered_again(
    preemption: Preemption,
) {
    let (mut store, _) = guests(preemption);
    let trap = component(&mut store, "trap");
    let again = trap;
    let answer = component(&mut store, "answer");
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        let error = trap.call(&mut caller, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    });
    let id = store.spawn_wasm_thread(host, &[]).unwrap();
    run_all(&mut store);
    returned(&mut store, id);
    let error = again.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::CannotEnterComponent));
    // Upstream would not let anybody enter this one any more either.
    assert_answers(&mut store, &answer);
}

fn a_core_function_that_traps_in_a_host_function_of_a_thread_affects_no_component(
    preemption: Preemption,
) {
    let (mut store, module) = guests(preemption);
    let answer = component(&mut store, "answer");
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let trap = instance.get_func(&mut store, "trap").unwrap();
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        trap.call(&mut caller, &[], &mut []).unwrap_err();
    });
    let id = store.spawn_wasm_thread(host, &[]).unwrap();
    run_all(&mut store);
    returned(&mut store, id);
    assert_answers(&mut store, &answer);
}
