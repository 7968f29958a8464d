//! A guest thread can make the component instance that it calls, and start functions are preempted
//! and limited like everything else.

use super::guests::{Seen, engines, returned, store, trapped};
use crate::support::{for_each_preemption, run_all, run_until, stats};
use wasmtime::component::{Component, InstancePre, Linker, Val};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_thread_starts_its_own_instance,
    a_start_function_that_spins_is_ended,
    what_cannot_be_started_is_the_threads_exit,
);

fn pre(engine: &Engine, start: &str) -> InstancePre<Seen> {
    let component = format!(
        r#"(component
          (core module $m
            (global $n (mut i32) (i32.const 0))
            (func $start {start} (global.set $n (i32.const 6)))
            (start $start)
            (func (export "times") (param i32) (result i32)
              (i32.mul (global.get $n) (local.get 0))))
          (core instance $i (instantiate $m))
          (func (export "times") (param "n" u32) (result u32)
            (canon lift (core func $i "times"))))"#
    );
    let component = Component::new(engine, component).unwrap();
    Linker::new(engine).instantiate_pre(&component).unwrap()
}

fn spawn(store: &mut Store<Seen>, pre: &InstancePre<Seen>) -> ComponentThreadId<Vec<Val>> {
    let options = ThreadOptions::new();
    let id = options.spawn_component_instance(store, pre, |mut store, instance| {
        let Some(times) = instance.get_func(&mut store, "times") else {
            bail!("there is no such function");
        };
        Ok((times, vec![Val::U32(7)]))
    });
    id.unwrap()
}

fn a_thread_starts_its_own_instance(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let pre = pre(&engine, "");
        let ids = [(); 5].map(|()| spawn(&mut store, &pre));
        run_all(&mut store);
        for id in ids {
            assert_eq!(returned(&mut store, &id), [Val::U32(42)]);
        }
    }
}

fn a_start_function_that_spins_is_ended(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let spinner = spawn(&mut store, &pre(&engine, "(loop br 0)"));
        let other = spawn(&mut store, &pre(&engine, ""));
        run_until(&mut store, |store| {
            stats(store, spinner.id()).preemptions > 0
                && other
                    .info(&store)
                    .is_some_and(|info| info.state == ThreadState::Finished)
        });
        assert_eq!(returned(&mut store, &other), [Val::U32(42)]);
        spinner.kill(&mut store).unwrap();
        let exit = spinner.take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
        // As if it had never been.
        let again = spawn(&mut store, &pre(&engine, ""));
        run_all(&mut store);
        assert_eq!(returned(&mut store, &again), [Val::U32(42)]);
    }
}

fn what_cannot_be_started_is_the_threads_exit(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let traps = spawn(&mut store, &pre(&engine, "unreachable"));
        let fails = ThreadOptions::new()
            .spawn_component_instance(&mut store, &pre(&engine, ""), |_, _| bail!("not now"))
            .unwrap();
        let others = pre(&engine, "").instantiate(&mut store).unwrap();
        let other = others.get_func(&mut store, "times").unwrap();
        let started = move |_: StoreContextMut<'_, Seen>, _| Ok((other, vec![Val::U32(1)]));
        let of_another = ThreadOptions::new()
            .spawn_component_instance(&mut store, &pre(&engine, ""), started)
            .unwrap();
        run_all(&mut store);
        let trap = trapped(&mut store, &traps);
        assert_eq!(trap.downcast_ref(), Some(&Trap::UnreachableCodeReached));
        assert_eq!(trapped(&mut store, &fails).to_string(), "not now");
        let error = trapped(&mut store, &of_another).to_string();
        assert!(error.contains("this one is of another"), "{error}");
    }
}
