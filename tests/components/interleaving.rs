//! Calls of components that are preempted anywhere, and interleave, keep their own tasks and borrow
//! scopes (I2).

use super::guests::{self, *};
use crate::support::*;
use wasmtime::component::{ResourceAny, Val};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    borrows_belong_to_their_own_call,
    the_caller_of_a_run_keeps_its_tasks,
);

/// Each turn of the guest lends the host what the host has lent to it.
fn borrows_belong_to_their_own_call(preemption: Preemption) {
    let slices = match preemption {
        Preemption::Fuel => vec![Slice::Fuel(1), Slice::Fuel(7)],
        _ => vec![shortest_slice(preemption)],
    };
    for engine in engines(preemption) {
        for slice in &slices {
            until_preempted(300, || {
                let mut store = store_with_slice(&engine, Seen::default(), *slice);
                let n = 2_000;
                let threads = [1, 2, 3].map(|rep| {
                    let instance = instance(&mut store);
                    let thing = thing(&mut store, rep);
                    let params = [Val::Resource(thing), Val::U32(n)];
                    let id = guests::spawn(&mut store, &instance, "use", &params);
                    (rep, thing, id)
                });
                let summer = instance(&mut store);
                let sum = guests::spawn(&mut store, &summer, "sum", &[Val::U32(n)]);
                let summary = run_all(&mut store);
                for (rep, thing, id) in threads {
                    assert_eq!(guests::returned(&mut store, &id), [Val::U32(rep * n)]);
                    // Nobody has it any more.
                    thing.resource_drop(&mut store).unwrap();
                }
                let expected = n * (n + 1) / 2;
                assert_eq!(guests::returned(&mut store, &sum), [Val::U32(expected)]);
                summary.preemptions
            });
        }
    }
}

/// A host function that a component has called, plainly, runs the store's threads.
fn the_caller_of_a_run_keeps_its_tasks(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let inner = instance(&mut store);
        let inner_thing = thing(&mut store, 3);
        let use_inner = inner.get_func(&mut store, "use").unwrap();

        let component = component::Component::new(&engine, COMPONENT).unwrap();
        let mut linker = linker(&engine);
        linker.allow_shadowing(true);
        let look = move |mut store: StoreContextMut<'_, Seen>,
                         (outer,): (component::Resource<Thing>,)| {
            let params = [Val::Resource(inner_thing), Val::U32(50)];
            let options = ThreadOptions::new();
            let id = options.spawn_component(&mut store, use_inner, &params)?;
            let run = store.run_wasm_threads_for(HANG)?;
            assert_eq!(run.end, RunEnd::AllFinished);
            let exit = id.take_exit(&mut store);
            assert!(matches!(exit, Some(TypedExit::Returned(sum)) if sum == [Val::U32(150)]));
            Ok((outer.rep(),))
        };
        linker.root().func_wrap("look", look).unwrap();
        let outer = linker.instantiate(&mut store, &component).unwrap();
        let outer_thing = thing(&mut store, 5);
        let use_outer = outer
            .get_typed_func::<(ResourceAny, u32), (u32,)>(&mut store, "use")
            .unwrap();
        let (sum,) = use_outer.call(&mut store, (outer_thing, 4)).unwrap();
        assert_eq!(sum, 20);
        outer_thing.resource_drop(&mut store).unwrap();
        inner_thing.resource_drop(&mut store).unwrap();
    }
}
