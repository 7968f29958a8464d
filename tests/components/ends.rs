//! A component's call that is ended anywhere leaves nothing of itself in the store: what it has
//! borrowed can be used and dropped, and its tasks are gone.

use super::guests::{self, *};
use crate::support::*;
use wasmtime::component::Val;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    killed_calls_give_back_what_they_borrowed,
    a_host_function_that_fails_or_panics_ends_its_call,
);

fn kill(engine: &Engine, preemption: Preemption, count: usize) {
    let slice = shortest_slice(preemption);
    // Instances of components stay until the store is dropped.
    for _ in 0..count.div_ceil(100) {
        let mut store = store_with_slice(engine, Seen::default(), slice);
        let pre = linker(engine)
            .instantiate_pre(&component::Component::new(engine, COMPONENT).unwrap())
            .unwrap();
        let thing = thing(&mut store, 7);
        for n in 0..count.min(100) {
            let instance = pre.instantiate(&mut store).unwrap();
            let id = match n % 3 {
                0 => guests::spawn(&mut store, &instance, "keep", &[Val::Resource(thing)]),
                1 => {
                    let params = [Val::Resource(thing), Val::U32(u32::MAX)];
                    guests::spawn(&mut store, &instance, "use", &params)
                }
                _ => guests::spawn(&mut store, &instance, "sum", &[Val::U32(u32::MAX)]),
            };
            let wanted = n as u64 % 5;
            run_until(&mut store, |store| {
                stats(store, id.id()).preemptions > wanted
            });
            id.kill(&mut store).unwrap();
            let exit = id.take_exit(&mut store);
            assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
        }
        // Only the store's own handle is left, so that it can be dropped.
        thing.resource_drop(&mut store).unwrap();
        if let Some(tasks) = store.concurrent_resource_table() {
            assert!(tasks.is_empty());
        }
    }
}

fn killed_calls_give_back_what_they_borrowed(preemption: Preemption) {
    for engine in engines(preemption) {
        kill(&engine, preemption, 60);
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn ten_thousand_killed_calls_leave_nothing() {
    for preemption in sources() {
        for engine in engines(preemption) {
            kill(&engine, preemption, 2_000);
        }
    }
}

fn a_host_function_that_fails_or_panics_ends_its_call(preemption: Preemption) {
    for engine in engines(preemption) {
        for panics in [false, true] {
            let mut store = store(&engine, preemption);
            let fine = instance(&mut store);
            let component = component::Component::new(&engine, COMPONENT).unwrap();
            let mut linker = linker(&engine);
            linker.allow_shadowing(true);
            let look = move |_: StoreContextMut<'_, Seen>,
                             (_,): (component::Resource<Thing>,)|
                  -> Result<(u32,)> {
                assert!(!panics, "the host panics");
                bail!("the host fails")
            };
            linker.root().func_wrap("look", look).unwrap();
            let instance = linker.instantiate(&mut store, &component).unwrap();
            let thing = thing(&mut store, 7);
            let params = [Val::Resource(thing), Val::U32(3)];
            let id = guests::spawn(&mut store, &instance, "use", &params);
            let sum = guests::spawn(&mut store, &fine, "sum", &[Val::U32(4)]);
            if panics {
                let run = || store.run_wasm_threads_for(HANG);
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
            }
            run_all(&mut store);
            guests::trapped(&mut store, &id);
            assert_eq!(guests::returned(&mut store, &sum), [Val::U32(10)]);
            thing.resource_drop(&mut store).unwrap();
        }
    }
}
