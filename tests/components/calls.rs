//! A component's function that a guest thread calls returns, or traps, as it does in a plain call,
//! whatever preempts it.

use super::guests::{self, *};
use crate::support::*;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    results_are_those_of_plain_calls,
    typed_calls_return_rust_types,
    a_trap_is_the_threads_exit,
    a_component_that_spins_starves_nobody,
    limits_end_a_component,
    what_cannot_be_called_is_refused,
);

fn results_are_those_of_plain_calls(preemption: Preemption) {
    for engine in engines(preemption) {
        until_preempted(20, || {
            let mut store = store(&engine, preemption);
            let n = some_turns(preemption) as u32 / 10;
            let sums = [(); 3].map(|()| {
                let instance = instance(&mut store);
                guests::spawn(&mut store, &instance, "sum", &[Val::U32(n)])
            });
            let greeter = instance(&mut store);
            let name = Val::String("Ada, ".into());
            let greeting = guests::spawn(&mut store, &greeter, "greet", &[name]);
            let summary = run_all(&mut store);
            let expected = (1..=n).fold(0, u32::wrapping_add);
            for sum in sums {
                assert_eq!(guests::returned(&mut store, &sum), [Val::U32(expected)]);
            }
            let greeting = guests::returned(&mut store, &greeting);
            assert_eq!(greeting, [Val::String("Ada, Ada, ".into())]);
            summary.preemptions
        });
    }
}

fn typed_calls_return_rust_types(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let greet = instance.get_typed_func::<(&str,), (String,)>(&mut store, "greet");
        let greet = greet.unwrap();
        for _ in 0..3 {
            let id = ThreadOptions::new().spawn_component_typed(&mut store, &greet, ("Bob",));
            let id = id.unwrap();
            run_all(&mut store);
            let (greeting,) = guests::returned(&mut store, &id);
            assert_eq!(greeting, "BobBob");
            assert!(id.take_exit(&mut store).is_none());
        }
    }
}

fn a_trap_is_the_threads_exit(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let id = guests::spawn(&mut store, &instance, "trap", &[]);
        run_all(&mut store);
        let error = guests::trapped(&mut store, &id);
        assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    }
}

fn a_component_that_spins_starves_nobody(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let (spinner, summer) = (instance(&mut store), instance(&mut store));
        let spinner = guests::spawn(&mut store, &spinner, "spin", &[]);
        let sum = guests::spawn(&mut store, &summer, "sum", &[Val::U32(100)]);
        run_until(&mut store, |store| finished(store, sum.id()));
        assert_eq!(guests::returned(&mut store, &sum), [Val::U32(5050)]);
        spinner.kill(&mut store).unwrap();
        let exit = spinner.take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
    }
}

fn limits_end_a_component(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let spin = instance.get_func(&mut store, "spin").unwrap();
        let options = match preemption {
            Preemption::Fuel => ThreadOptions::new().fuel_limit(100_000),
            _ => ThreadOptions::new().cpu_limit(ms(5)),
        };
        let id = options.spawn_component(&mut store, spin, &[]).unwrap();
        run_all(&mut store);
        let exit = id.take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::OverLimit(_))), "{exit:?}");
    }
}

fn what_cannot_be_called_is_refused(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let mut other = guests::store(&engine, preemption);
        let instance = instance(&mut store);
        let sum = instance.get_func(&mut store, "sum").unwrap();
        let refusal = |store: &mut Store<Seen>, params: &[Val]| {
            let refused = ThreadOptions::new().spawn_component(store, sum, params);
            refused.unwrap_err().to_string()
        };
        assert!(refusal(&mut other, &[Val::U32(1)]).contains("another store"));
        assert!(refusal(&mut store, &[]).contains("takes 1 arguments, not 0"));
        // Its types are looked at when it is called.
        let id = guests::spawn(&mut store, &instance, "sum", &[Val::Bool(true)]);
        run_all(&mut store);
        let error = guests::trapped(&mut store, &id);
        assert!(format!("{error:?}").contains("type mismatch"), "{error:?}");
        // The guest has not begun, and others can call it.
        let id = guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(10)]);
    }
    let mut config = config(preemption);
    config.wasm_component_model_async(true);
    let engine = Engine::new(&config).unwrap();
    let lifted_with_async = r#"
        (component
          (core module $m
            (func (export "f") (result i32) (i32.const 0))
            (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
          (core instance $i (instantiate $m))
          (func (export "f") async
            (canon lift (core func $i "f") async (callback (core func $i "callback")))))"#;
    let component = Component::new(&engine, lifted_with_async).unwrap();
    let mut store = store(&engine, preemption);
    let instance = Linker::new(&engine)
        .instantiate(&mut store, &component)
        .unwrap();
    let func = instance.get_func(&mut store, "f").unwrap();
    let refused = ThreadOptions::new().spawn_component(&mut store, func, &[]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("lifted with `async`"), "{refused}");
}
