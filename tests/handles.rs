//! Any OS thread can kill a guest thread, or end its slice, while a run is on.

use crate::support::*;
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// A store with a slice that is never over.
fn patient(preemption: Preemption) -> (Store<()>, Module) {
    let (mut store, module) = guests(preemption);
    let slice = match preemption {
        Preemption::Fuel => Slice::Fuel(20_000_000),
        _ => Slice::Time(Duration::from_secs(3600)),
    };
    store.wasm_threads().set_slice(slice).unwrap();
    (store, module)
}

#[test]
fn a_lone_thread_is_killed_from_another_os_thread() {
    for preemption in [Preemption::Fuel].into_iter().chain(timed_sources()) {
        let (mut store, module) = patient(preemption);
        let (id, _) = spawn_spinner(&mut store, &module);
        let handle = id.remote(&mut store).unwrap();
        let killer = thread::spawn(move || {
            thread::sleep(ms(20));
            handle.kill();
            handle.kill();
        });
        let run = store.run_wasm_threads_for(HANG).unwrap();
        assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 1));
        killer.join().unwrap();
        assert_killed(&mut store, id);
    }
}

for_each_preemption!(a_thread_is_killed_whose_host_future_is_never_ready,);
// Of slices of time.
for_each_preemption!([epoch, signal]
    a_slice_is_ended_from_another_os_thread,
    a_run_that_another_run_is_inside_of_is_interrupted_when_it_goes_on,
    a_thread_is_killed_whose_host_function_takes_its_time,
    a_thread_is_killed_whose_host_future_keeps_the_store,
    a_suspended_thread_is_killed_beside_one_that_has_the_cpu_to_itself,
    a_kill_between_the_pick_and_the_dispatch_is_not_lost,
);

fn a_slice_is_ended_from_another_os_thread(preemption: Preemption) {
    let (mut store, module) = patient(preemption);
    let (a, _) = spawn_spinner(&mut store, &module);
    let handle = a.remote(&mut store).unwrap();
    let (ends_it, had_its_turn) = (handle.clone(), Arc::new(AtomicBool::new(false)));
    let turn = had_its_turn.clone();
    let other = Func::wrap(&mut store, move || {
        turn.store(true, Ordering::SeqCst);
        ends_it.kill();
    });
    store.spawn_wasm_thread(other, &[]).unwrap();
    let poker = thread::spawn(move || {
        // It may be asked for before there is a slice.
        while !had_its_turn.load(Ordering::SeqCst) {
            handle.preempt_now();
            thread::yield_now();
        }
    });
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
    poker.join().unwrap();
    assert_eq!(stats(&store, a).preemptions, 1);
    assert_killed(&mut store, a);
}

#[test]
fn a_kill_while_no_run_is_on_is_carried_out_by_the_next() {
    for preemption in [Preemption::Fuel].into_iter().chain(timed_sources()) {
        let (mut store, module) = guests(preemption);
        let (id, turns) = spawn_spinner(&mut store, &module);
        let handle = id.remote(&mut store).unwrap();
        assert_eq!(handle.id(), id);
        handle.kill();
        assert!(!finished(&store, id));
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!((run.dispatches, run.finished), (0, 1));
        assert_eq!(turns.get(&mut store).unwrap_i64(), 0);
        assert_killed(&mut store, id);
    }
}

#[test]
fn a_handle_outlives_its_thread_and_its_store() {
    let (mut store, module) = guests(Preemption::Epoch);
    let (done, (spinner, _)) = (
        spawn(&mut store, &module, "answer", &[]),
        spawn_spinner(&mut store, &module),
    );
    let handles = [done, spinner].map(|id| id.remote(&mut store).unwrap());
    run_until(&mut store, |store| finished(store, done));
    handles[0].kill();
    handles[0].preempt_now();
    store.run_wasm_threads_for(ms(10)).unwrap();
    assert_eq!(returned(&mut store, done)[0].unwrap_i32(), 42);
    drop(store);
    for handle in handles {
        handle.kill();
        handle.preempt_now();
    }
}

#[test]
fn a_storm_of_interruptions_changes_no_result() {
    for preemption in [Preemption::Fuel].into_iter().chain(timed_sources()) {
        let (mut store, module) = guests(preemption);
        let ids: Vec<_> = (0..4)
            .map(|_| spawn(&mut store, &module, "fib", &[Val::I32(25)]))
            .collect();
        let handles: Vec<_> = ids
            .iter()
            .map(|id| id.remote(&mut store).unwrap())
            .collect();
        let done = Arc::new(AtomicBool::new(false));
        let storm = thread::spawn({
            let done = done.clone();
            move || {
                while !done.load(Ordering::Relaxed) {
                    handles.iter().for_each(RemoteThread::preempt_now);
                    thread::sleep(Duration::from_micros(20));
                }
            }
        });
        // Runs begin and end beneath it.
        while store.run_wasm_threads_for(ms(1)).unwrap().end != RunEnd::AllFinished {}
        done.store(true, Ordering::Relaxed);
        storm.join().unwrap();
        for id in ids {
            assert_eq!(returned(&mut store, id)[0].unwrap_i32(), 75_025);
        }
    }
}

#[test]
fn threads_are_killed_while_they_come_and_go() {
    for preemption in [Preemption::Fuel].into_iter().chain(timed_sources()) {
        let (mut store, module) = guests(preemption);
        for round in 0..50 {
            let ids: Vec<_> = (0..3)
                .map(|_| spawn_spinner(&mut store, &module).0)
                .collect();
            let handles: Vec<_> = ids
                .iter()
                .map(|id| id.remote(&mut store).unwrap())
                .collect();
            let killer = thread::spawn(move || {
                thread::sleep(Duration::from_micros(50 * round));
                handles.iter().for_each(RemoteThread::kill);
            });
            let run = store.run_wasm_threads_for(HANG).unwrap();
            assert_eq!(run.end, RunEnd::AllFinished);
            killer.join().unwrap();
            for id in ids {
                assert_killed(&mut store, id);
            }
        }
    }
}

fn a_run_that_another_run_is_inside_of_is_interrupted_when_it_goes_on(preemption: Preemption) {
    let (mut outer, module) = patient(preemption);
    let engine = outer.engine().clone();
    let inside = Func::wrap(&mut outer, move || {
        let mut inner = Store::new(&engine, ());
        let module = Module::new(&engine, GUESTS).unwrap();
        spawn_spinner(&mut inner, &module);
        inner.run_wasm_threads_for(ms(40)).unwrap();
    });
    let wat = r#"(module (import "" "" (func $inside))
            (func (export "run") (call $inside) (loop br 0)))"#;
    let calling = Module::new(outer.engine(), wat).unwrap();
    let instance = Instance::new(&mut outer, &calling, &[inside.into()]).unwrap();
    let run = instance.get_func(&mut outer, "run").unwrap();
    let id = outer.spawn_wasm_thread(run, &[]).unwrap();
    spawn_spinner(&mut outer, &module);
    let handle = id.remote(&mut outer).unwrap();
    let killer = kill_later(handle);
    run_until(&mut outer, |store| finished(store, id));
    killer.join().unwrap();
    assert_killed(&mut outer, id);
}

/// Kills a thread after 20 ms that first calls `wait`, which takes longer, and then
/// spins.
fn kill_while_waiting(store: &mut Store<()>, wait: Func) {
    let wat = r#"(module (import "" "" (func $wait))
        (func (export "run") (call $wait) (loop br 0)))"#;
    let module = Module::new(store.engine(), wat).unwrap();
    let mut linker = Linker::new(store.engine());
    linker.define(&mut *store, "", "", wait).unwrap();
    let instance = now(linker.instantiate_async(&mut *store, &module)).unwrap();
    let run = instance.get_func(&mut *store, "run").unwrap();
    let id = store.spawn_wasm_thread(run, &[]).unwrap();
    let handle = id.remote(&mut *store).unwrap();
    let killer = kill_later(handle);
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!(run.end, RunEnd::AllFinished);
    killer.join().unwrap();
    assert_killed(store, id);
}

fn a_thread_is_killed_whose_host_function_takes_its_time(preemption: Preemption) {
    let (mut store, _) = patient(preemption);
    let wait = Func::wrap_async(&mut store, |_, (): ()| {
        Box::new(async { thread::sleep(ms(60)) })
    });
    kill_while_waiting(&mut store, wait);
}

fn a_thread_is_killed_whose_host_future_keeps_the_store(preemption: Preemption) {
    let (mut store, _) = patient(preemption);
    let wait = Func::wrap_async(&mut store, |_, (): ()| Box::new(after(ms(60))));
    kill_while_waiting(&mut store, wait);
}

fn a_thread_is_killed_whose_host_future_is_never_ready(preemption: Preemption) {
    let (mut store, _) = patient(preemption);
    let wait = Func::wrap_async(&mut store, |_, (): ()| Box::new(future::pending::<()>()));
    must_end(move || kill_while_waiting(&mut store, wait));
}

fn a_suspended_thread_is_killed_beside_one_that_has_the_cpu_to_itself(preemption: Preemption) {
    let (mut store, module) = patient(preemption);
    let (id, _) = spawn_spinner(&mut store, &module);
    id.suspend(&mut store).unwrap();
    let spins = Arc::new(AtomicBool::new(false));
    let begins = spins.clone();
    let begin = Func::wrap(&mut store, move || begins.store(true, Ordering::SeqCst));
    let wat = r#"(module (import "" "" (func $begin))
            (func (export "run") (call $begin) (loop br 0)))"#;
    let spinning = Module::new(store.engine(), wat).unwrap();
    let instance = Instance::new(&mut store, &spinning, &[begin.into()]).unwrap();
    let spinner = spawn_in(&mut store, instance, "run", &[]);
    let (handle, other) = (
        id.remote(&mut store).unwrap(),
        spinner.remote(&mut store).unwrap(),
    );
    // Nothing else ends the spinner.
    id.on_exit(&mut store, move |_, _| other.kill()).unwrap();
    let killer = thread::spawn(move || {
        spin_until(|| spins.load(Ordering::SeqCst));
        handle.kill();
    });
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 2));
    killer.join().unwrap();
    assert_killed(&mut store, id);
    assert_killed(&mut store, spinner);
}

/// Asks for a thread to be killed right after it was picked: nobody is on the CPU then
/// who could be interrupted.
#[derive(Default)]
struct KillsWhatItPicks {
    ready: Vec<ThreadId>,
    victim: Option<RemoteThread>,
}

impl ThreadScheduler for KillsWhatItPicks {
    fn spawned(&mut self, _: u64, thread: ThreadId, _: &ThreadParams) {
        self.ready.push(thread);
    }
    fn preempted(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.ready.push(thread);
    }
    fn yielded(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.ready.push(thread);
    }
    fn parked(&mut self, _: u64, _: ThreadId, _: u64) {}
    fn woken(&mut self, _: u64, _: ThreadId) {}
    fn changed(&mut self, _: u64, _: ThreadId, _: &ThreadParams) {}
    fn finished(&mut self, _: u64, thread: ThreadId, _: u64) {
        self.ready.retain(|ready| *ready != thread);
    }
    fn next(&mut self, _: u64) -> Option<Pick> {
        let thread = self.ready.pop()?;
        if let Some(victim) = self.victim.take() {
            victim.kill();
        }
        Some(Pick {
            thread,
            slice: None,
        })
    }
}

fn a_kill_between_the_pick_and_the_dispatch_is_not_lost(preemption: Preemption) {
    let (mut store, module) = patient(preemption);
    let scheduler = KillsWhatItPicks::default();
    store.wasm_threads().set_scheduler(scheduler).unwrap();
    let (id, _) = spawn_spinner(&mut store, &module);
    let handle = id.remote(&mut store).unwrap();
    let scheduler = store.wasm_threads().scheduler_mut::<KillsWhatItPicks>();
    scheduler.unwrap().victim = Some(handle);
    let run = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 1));
    assert_killed(&mut store, id);
}
