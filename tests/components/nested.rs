//! A host function of a guest thread that calls a component, and goes on when that call fails,
//! leaves nothing of the failed call to anybody.

use super::guests::{self, *};
use crate::support::*;
use std::sync::{Arc, Mutex};
use wasmtime::component::{Component, Val};
use wasmtime::*;

for_each_preemption!(
    a_failed_call_of_a_core_thread_is_forgotten,
    a_failed_call_of_a_component_leaves_its_caller_as_it_was,
    a_call_within_a_call_that_fails_is_not_in_the_instance_any_more,
);

/// A component whose `look` fails, after it was lent a thing.
fn failing(engine: &Engine, store: &mut Store<Seen>) -> component::Instance {
    let component = Component::new(engine, COMPONENT).unwrap();
    let mut linker = linker(engine);
    linker.allow_shadowing(true);
    let look = |_: StoreContextMut<'_, Seen>, (_,): (component::Resource<Thing>,)| {
        Err::<(u32,), _>(format_err!("the host fails"))
    };
    linker.root().func_wrap("look", look).unwrap();
    linker.instantiate(store, &component).unwrap()
}

fn a_failed_call_of_a_core_thread_is_forgotten(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let bad = failing(&engine, &mut store);
        let lent = thing(&mut store, 7);
        let use_bad = bad.get_func(&mut store, "use").unwrap();
        let host = Func::wrap(&mut store, move |mut caller: Caller<'_, Seen>| {
            let params = [Val::Resource(lent), Val::U32(3)];
            let mut results = [Val::Bool(false)];
            use_bad
                .call(&mut caller, &params, &mut results)
                .unwrap_err();
        });
        let core = store.spawn_wasm_thread(host, &[]).unwrap();
        // Others start after it, and would inherit what it has left.
        let others = [(); 3].map(|()| {
            let instance = instance(&mut store);
            spawn_use(&mut store, &instance)
        });
        run_all(&mut store);
        crate::support::returned(&mut store, core);
        for (thing, id) in others {
            assert_eq!(guests::returned(&mut store, &id), [Val::U32(50)]);
            thing.resource_drop(&mut store).unwrap();
        }
        lent.resource_drop(&mut store).unwrap();
        let again = guests::spawn(&mut store, &bad, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_not_entered(&guests::trapped(&mut store, &again));
        if let Some(tasks) = store.concurrent_resource_table() {
            assert!(tasks.is_empty());
        }
    }
}

fn spawn_use(
    store: &mut Store<Seen>,
    instance: &component::Instance,
) -> (component::ResourceAny, preempt::ComponentThreadId<Vec<Val>>) {
    let thing = thing(store, 5);
    let params = [Val::Resource(thing), Val::U32(10)];
    (thing, guests::spawn(store, instance, "use", &params))
}

fn a_failed_call_of_a_component_leaves_its_caller_as_it_was(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let bad = failing(&engine, &mut store);
        let lent = thing(&mut store, 7);
        let use_bad = bad.get_func(&mut store, "use").unwrap();
        let component = Component::new(&engine, COMPONENT).unwrap();
        let mut linker = linker(&engine);
        linker.allow_shadowing(true);
        let look = move |mut store: StoreContextMut<'_, Seen>,
                         (own,): (component::Resource<Thing>,)| {
            let params = [Val::Resource(lent), Val::U32(3)];
            let mut results = [Val::Bool(false)];
            use_bad.call(&mut store, &params, &mut results).unwrap_err();
            store.data_mut().looks += 1;
            Ok((own.rep(),))
        };
        linker.root().func_wrap("look", look).unwrap();
        let outer = linker.instantiate(&mut store, &component).unwrap();
        let (thing, id) = spawn_use(&mut store, &outer);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(50)]);
        assert_eq!(store.data().looks, 10);
        thing.resource_drop(&mut store).unwrap();
        lent.resource_drop(&mut store).unwrap();
        if let Some(tasks) = store.concurrent_resource_table() {
            assert!(tasks.is_empty());
        }
    }
}

fn a_call_within_a_call_that_fails_is_not_in_the_instance_any_more(preemption: Preemption) {
    // With concurrency, nobody enters an instance twice.
    let [engine, _] = engines(preemption);
    let component = Component::new(&engine, COMPONENT).unwrap();
    let mut linker = linker(&engine);
    linker.allow_shadowing(true);
    let within = Arc::new(Mutex::new(None::<component::Func>));
    let func = within.clone();
    let nap = move |mut store: StoreContextMut<'_, Seen>, (): ()| {
        store.data_mut().naps += 1;
        let sum = func.lock().unwrap().unwrap();
        // Not of its type.
        sum.call(&mut store, &[Val::Bool(true)], &mut [Val::Bool(false)])
            .unwrap_err();
        Ok(())
    };
    linker.root().func_wrap("nap", nap).unwrap();
    for as_thread in [false, true] {
        let mut store = store(&engine, preemption);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        *within.lock().unwrap() = instance.get_func(&mut store, "sum");
        match as_thread {
            true => {
                let id = guests::spawn(&mut store, &instance, "nap", &[]);
                run_all(&mut store);
                assert_eq!(guests::returned(&mut store, &id), []);
            }
            false => {
                let nap = instance.get_func(&mut store, "nap").unwrap();
                nap.call(&mut store, &[], &mut []).unwrap();
            }
        }
        assert_eq!(store.data().naps, 2);
        let id = guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(10)]);
    }
}
