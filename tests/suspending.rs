//! Single threads are suspended, resumed and killed, between runs and in them.

use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_suspended_thread_does_not_run_until_it_is_resumed,
    a_run_ends_when_all_are_suspended,
    a_thread_that_is_running_is_suspended_when_its_slice_is_over,
    one_that_has_the_cpu_to_itself_is_too,
    one_thread_is_killed_wherever_it_is,
    a_host_function_kills_a_sibling_and_its_own_thread,
    a_resumed_thread_runs_after_those_that_are_ready,
    there_is_nobody_to_suspend_or_kill,
);

fn a_suspended_thread_does_not_run_until_it_is_resumed(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (a, turns) = spawn_spinner(&mut store, &module);
    let (b, _) = spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(10)).unwrap();
    a.suspend(&mut store).unwrap();
    assert_eq!(a.info(&store).unwrap().state, ThreadState::Suspended);
    let (before, dispatches) = (
        turns.get(&mut store).unwrap_i64(),
        stats(&store, a).dispatches,
    );
    assert!(before > 0);
    store.run_wasm_threads_for(ms(10)).unwrap();
    assert_eq!(turns.get(&mut store).unwrap_i64(), before);
    assert_eq!(stats(&store, a).dispatches, dispatches);
    a.resume(&mut store).unwrap();
    a.resume(&mut store).unwrap();
    assert_eq!(a.info(&store).unwrap().state, ThreadState::Ready);
    run_until(&mut store, |store| stats(store, a).dispatches > dispatches);
    assert!(turns.get(&mut store).unwrap_i64() > before);
    assert_eq!(store.shutdown_wasm_threads(), 2);
    assert_killed(&mut store, a);
    assert_killed(&mut store, b);
}

fn a_run_ends_when_all_are_suspended(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (a, _) = spawn_spinner(&mut store, &module);
    a.suspend(&mut store).unwrap();
    let run = store
        .run_wasm_threads_for(std::time::Duration::MAX)
        .unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::AllSuspended, 0));
    assert_eq!(store.shutdown_wasm_threads(), 1);
    assert_killed(&mut store, a);
}

/// A store whose `run` calls `host` and then spins, and a spinner beside it.
fn calling(
    preemption: Preemption,
    host: impl Fn(Caller<'_, ()>) + Send + Sync + 'static,
) -> (Store<()>, ThreadId, ThreadId) {
    let (mut store, module) = guests(preemption);
    let (spinner, _) = spawn_spinner(&mut store, &module);
    let host = Func::wrap(&mut store, host);
    let wat = r#"(module (import "" "" (func $host))
        (func (export "run") (call $host) (loop br 0)))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let id = store.spawn_wasm_thread(run, &[]).unwrap();
    (store, id, spinner)
}

fn a_thread_that_is_running_is_suspended_when_its_slice_is_over(preemption: Preemption) {
    let (mut store, id, spinner) = calling(preemption, |mut caller| {
        let me = caller.wasm_threads().current().unwrap();
        me.suspend(caller.as_context_mut()).unwrap();
        assert_eq!(me.info(&caller).unwrap().state, ThreadState::Running);
    });
    run_until(&mut store, |store| {
        id.info(&store).unwrap().state == ThreadState::Suspended
    });
    assert_eq!(stats(&store, id).dispatches, 1);
    id.resume(&mut store).unwrap();
    run_until(&mut store, |store| stats(store, id).dispatches > 1);
    assert!(!finished(&store, spinner));
}

fn one_that_has_the_cpu_to_itself_is_too(preemption: Preemption) {
    let (mut store, id, spinner) = calling(preemption, |mut caller| {
        let me = caller.wasm_threads().current().unwrap();
        me.suspend(caller.as_context_mut()).unwrap();
    });
    spinner.kill(&mut store).unwrap();
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!(run.end, RunEnd::AllSuspended);
    assert_eq!(id.info(&store).unwrap().state, ThreadState::Suspended);
}

fn one_thread_is_killed_wherever_it_is(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (started, _) = spawn_spinner(&mut store, &module);
    let (sibling, turns) = spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(10)).unwrap();
    let (new, _) = spawn_spinner(&mut store, &module);
    let (suspended, _) = spawn_spinner(&mut store, &module);
    suspended.suspend(&mut store).unwrap();
    for id in [started, new, suspended] {
        id.kill(&mut store).unwrap();
        let error = id.kill(&mut store).unwrap_err();
        assert!(error.to_string().contains("has finished"), "{error}");
        assert_killed(&mut store, id);
    }
    let before = turns.get(&mut store).unwrap_i64();
    let dispatches = stats(&store, sibling).dispatches;
    run_until(&mut store, |store| {
        stats(store, sibling).dispatches > dispatches
    });
    assert!(turns.get(&mut store).unwrap_i64() > before);
    assert!(!finished(&store, sibling));
}

fn a_host_function_kills_a_sibling_and_its_own_thread(preemption: Preemption) {
    let (mut store, id, spinner) = calling(preemption, |mut caller| {
        let me = caller.wasm_threads().current().unwrap();
        let mut store = caller.as_context_mut();
        ThreadId::from_u64(1).kill(&mut store).unwrap();
        me.kill(&mut store).unwrap();
    });
    let run = store
        .run_wasm_threads_for(std::time::Duration::MAX)
        .unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
    assert_killed(&mut store, id);
    assert_killed(&mut store, spinner);
}

fn a_resumed_thread_runs_after_those_that_are_ready(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let ids: Vec<_> = (0..3)
        .map(|_| spawn(&mut store, &module, "answer", &[]))
        .collect();
    store.wasm_threads().set_trace(100).unwrap();
    ids[0].suspend(&mut store).unwrap();
    ids[0].resume(&mut store).unwrap();
    ids[1].suspend(&mut store).unwrap();
    store.run_wasm_threads_for(HANG).unwrap();
    ids[1].resume(&mut store).unwrap();
    run_all(&mut store);
    let trace = store.wasm_threads().take_trace().unwrap();
    let returned = trace
        .events
        .iter()
        .filter(|event| event.what == Traced::Returned);
    let order: Vec<_> = returned.map(|event| event.thread).collect();
    assert_eq!(order.last(), Some(&ids[1]));
    assert_eq!(order.len(), 3);
}

fn there_is_nobody_to_suspend_or_kill(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let done = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    let nobody = ThreadId::from_u64(77);
    for (id, says) in [(done, "has finished"), (nobody, "no guest thread 77")] {
        for error in [
            id.suspend(&mut store).unwrap_err(),
            id.resume(&mut store).unwrap_err(),
            id.kill(&mut store).unwrap_err(),
            id.remote(&mut store).unwrap_err(),
        ] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

#[test]
fn suspending_and_resuming_takes_no_memory() {
    in_own_process(
        module_path!(),
        "suspending_and_resuming_takes_no_memory",
        || {
            let (mut store, module) = guests(Preemption::Fuel);
            let (id, _) = spawn_spinner(&mut store, &module);
            let mut rounds = |rounds| {
                for _ in 0..rounds {
                    id.suspend(&mut store).unwrap();
                    id.resume(&mut store).unwrap();
                }
            };
            rounds(1_000);
            let before = resident_kib();
            rounds(1_000_000);
            let after = resident_kib();
            // A tenth of what a place in the queue for each would take.
            assert!(after < before + 1_500, "{before} to {after} KiB");
        },
    );
}
