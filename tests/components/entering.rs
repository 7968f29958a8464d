//! A component instance is entered by one call at a time, and not any more once a call of it has
//! failed. Other instances of the store are not affected.

use super::guests::{self, *};
use crate::support::*;
use wasmtime::component::{Component, Val};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_second_thread_waits_for_its_turn,
    the_embedder_is_kept_out_while_a_thread_is_in,
    a_host_function_cannot_enter_what_a_sibling_is_in,
    only_the_instance_of_a_failed_call_is_shut,
    waiting_threads_learn_that_their_instance_is_shut,
    a_killed_waiter_lets_the_next_one_in,
    nobody_waits_for_the_call_that_runs_them,
    a_run_ends_if_those_inside_are_suspended,
    a_plain_call_that_failed_is_in_no_instance,
);

fn a_second_thread_waits_for_its_turn(preemption: Preemption) {
    for engine in engines(preemption) {
        until_preempted(5, || {
            let mut store = store(&engine, preemption);
            let instance = instance(&mut store);
            let n = Val::U32(some_turns(preemption) as u32 / 10);
            let ids = [(); 4]
                .map(|()| guests::spawn(&mut store, &instance, "sum", std::slice::from_ref(&n)));
            let summary = run_all(&mut store);
            let sums = ids.map(|id| guests::returned(&mut store, &id));
            assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
            summary.preemptions
        });
    }
}

fn the_embedder_is_kept_out_while_a_thread_is_in(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let (one, two) = (instance(&mut store), instance(&mut store));
        let spinner = guests::spawn(&mut store, &one, "spin", &[]);
        run_until(&mut store, |store| {
            stats(store, spinner.id()).preemptions > 0
        });
        let mut sum = |instance: &component::Instance| {
            let sum = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "sum");
            sum.unwrap().call(&mut store, (4,))
        };
        assert_not_entered(&sum(&one).unwrap_err());
        assert_eq!(sum(&two).unwrap(), (10,));
        spinner.kill(&mut store).unwrap();
    }
}

fn a_host_function_cannot_enter_what_a_sibling_is_in(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let (one, two) = (instance(&mut store), instance(&mut store));
        let [sum_of_one, sum_of_two] = [one, two].map(|instance| {
            let sum = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "sum");
            sum.unwrap()
        });
        let spinner = guests::spawn(&mut store, &one, "spin", &[]);
        run_until(&mut store, |store| {
            stats(store, spinner.id()).preemptions > 0
        });

        let component = Component::new(&engine, COMPONENT).unwrap();
        let mut linker = linker(&engine);
        linker.allow_shadowing(true);
        let nap = move |mut store: StoreContextMut<'_, Seen>, (): ()| {
            assert_not_entered(&sum_of_one.call(&mut store, (4,)).unwrap_err());
            assert_eq!(sum_of_two.call(&mut store, (4,)).unwrap(), (10,));
            store.data_mut().naps += 1;
            Ok(())
        };
        linker.root().func_wrap("nap", nap).unwrap();
        let three = linker.instantiate(&mut store, &component).unwrap();
        let napper = guests::spawn(&mut store, &three, "nap", &[]);
        run_until(&mut store, |store| finished(store, napper.id()));
        guests::returned(&mut store, &napper);
        assert_eq!(store.data().naps, 2);
        spinner.kill(&mut store).unwrap();
    }
}

fn only_the_instance_of_a_failed_call_is_shut(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let [broken, killed, fine] = [(); 3].map(|()| instance(&mut store));
        guests::spawn(&mut store, &broken, "trap", &[]);
        let spinner = guests::spawn(&mut store, &killed, "spin", &[]);
        run_until(&mut store, |store| {
            stats(store, spinner.id()).preemptions > 0
        });
        spinner.kill(&mut store).unwrap();
        for shut in [broken, killed] {
            let id = guests::spawn(&mut store, &shut, "sum", &[Val::U32(4)]);
            run_all(&mut store);
            assert_not_entered(&guests::trapped(&mut store, &id));
            let sum = shut
                .get_typed_func::<(u32,), (u32,)>(&mut store, "sum")
                .unwrap();
            assert_not_entered(&sum.call(&mut store, (4,)).unwrap_err());
        }
        let id = guests::spawn(&mut store, &fine, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(10)]);
        let sum = fine
            .get_typed_func::<(u32,), (u32,)>(&mut store, "sum")
            .unwrap();
        assert_eq!(sum.call(&mut store, (4,)).unwrap(), (10,));
    }
}

fn waiting_threads_learn_that_their_instance_is_shut(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let spinner = guests::spawn(&mut store, &instance, "spin", &[]);
        run_until(&mut store, |store| {
            stats(store, spinner.id()).preemptions > 0
        });
        let waiting = [(); 2].map(|()| guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]));
        run_until_parked(&mut store, &[waiting[0].id(), waiting[1].id()]);
        // One that is killed while it waits has not entered.
        waiting[0].kill(&mut store).unwrap();
        let exit = waiting[0].take_exit(&mut store);
        assert!(matches!(exit, Some(TypedExit::Killed)), "{exit:?}");
        spinner.kill(&mut store).unwrap();
        run_all(&mut store);
        assert_not_entered(&guests::trapped(&mut store, &waiting[1]));
    }
}

fn a_killed_waiter_lets_the_next_one_in(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let n = some_turns(preemption) as u32;
        let first = guests::spawn(&mut store, &instance, "sum", &[Val::U32(n)]);
        run_until(&mut store, |store| stats(store, first.id()).dispatches > 0);
        let waiting = [(); 3].map(|()| guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]));
        // It is let in, or still waits.
        let killed = waiting[0].remote(&mut store).unwrap();
        let killer = first.on_exit(&mut store, move |_, _| killed.kill());
        if killer.is_err() {
            waiting[0].kill(&mut store).unwrap();
        }
        run_all(&mut store);
        for thread in &waiting[1..] {
            assert_eq!(guests::returned(&mut store, thread), [Val::U32(10)]);
        }
    }
}

/// A plain call of a component whose host function runs the store's threads.
fn nobody_waits_for_the_call_that_runs_them(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let component = Component::new(&engine, COMPONENT).unwrap();
        let mut linker = linker(&engine);
        linker.allow_shadowing(true);
        let instance = std::sync::Arc::new(std::sync::OnceLock::<component::Instance>::new());
        let this = instance.clone();
        let nap = move |mut store: StoreContextMut<'_, Seen>, (): ()| {
            let sum = this.get().unwrap().get_func(&mut store, "sum").unwrap();
            let options = ThreadOptions::new();
            let id = options.spawn_component(&mut store, sum, &[Val::U32(4)])?;
            let run = store.run_wasm_threads_for(HANG)?;
            assert_eq!(run.end, RunEnd::AllFinished);
            match id.take_exit(&mut store) {
                Some(TypedExit::Trapped(error)) => assert_not_entered(&error),
                exit => panic!("{exit:?}"),
            }
            store.data_mut().naps += 1;
            Ok(())
        };
        linker.root().func_wrap("nap", nap).unwrap();
        let napper = linker.instantiate(&mut store, &component).unwrap();
        instance.set(napper).unwrap();
        let nap = napper.get_typed_func::<(), ()>(&mut store, "nap").unwrap();
        nap.call(&mut store, ()).unwrap();
        assert_eq!(store.data().naps, 2);
        // It is free again.
        let id = guests::spawn(&mut store, &napper, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(10)]);
    }
}

fn a_run_ends_if_those_inside_are_suspended(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let inside = guests::spawn(&mut store, &instance, "spin", &[]);
        run_until(&mut store, |store| {
            stats(store, inside.id()).preemptions > 0
        });
        let waiting = guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]);
        inside.suspend(&mut store).unwrap();
        let summary = store.run_wasm_threads_for(HANG).unwrap();
        assert_eq!(summary.end, RunEnd::AllSuspended);
        let waits_for = waiting.info(&store).unwrap().waits_for;
        assert_eq!(waits_for, Some(WaitFor::Component(inside.id())));
        inside.kill(&mut store).unwrap();
        run_all(&mut store);
        assert_not_entered(&guests::trapped(&mut store, &waiting));
    }
}

fn a_plain_call_that_failed_is_in_no_instance(preemption: Preemption) {
    for engine in engines(preemption) {
        let mut store = store(&engine, preemption);
        let instance = instance(&mut store);
        let sum = instance.get_func(&mut store, "sum").unwrap();
        // It fails when it has entered, and does not trap.
        let mut results = [Val::Bool(false)];
        let failed = sum.call(&mut store, &[Val::Bool(true)], &mut results);
        failed.unwrap_err();
        let id = guests::spawn(&mut store, &instance, "sum", &[Val::U32(4)]);
        run_all(&mut store);
        assert_eq!(guests::returned(&mut store, &id), [Val::U32(10)]);
    }
}
