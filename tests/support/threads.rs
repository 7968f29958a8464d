//! Threads: how they are spawned, run, and looked at.

use super::{HANG, ms};
use std::thread;
use std::time::Instant;
use wasmtime::preempt::*;
use wasmtime::*;

/// Spawns `export` in an instance of its own, which imports nothing.
pub fn spawn<T: 'static>(
    store: &mut Store<T>,
    module: &Module,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = Instance::new(&mut *store, module, &[]).unwrap();
    spawn_in(store, instance, export, params)
}

/// Spawns `export` of `instance`.
pub fn spawn_in<T: 'static>(
    store: &mut Store<T>,
    instance: Instance,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let func = instance.get_func(&mut *store, export).unwrap();
    store.spawn_wasm_thread(func, params).unwrap()
}

/// Spawns `export` with `options` in an instance of its own, which imports nothing.
pub fn spawn_with<T: 'static>(
    store: &mut Store<T>,
    module: &Module,
    export: &str,
    params: &[Val],
    options: ThreadOptions,
) -> ThreadId {
    let instance = Instance::new(&mut *store, module, &[]).unwrap();
    let func = instance.get_func(&mut *store, export).unwrap();
    options.spawn(&mut *store, func, params).unwrap()
}

/// Spawns `export` in an instance of its own, with the imports that it asks for.
pub fn spawn_linked<T: 'static>(
    store: &mut Store<T>,
    linker: &Linker<T>,
    module: &Module,
    export: &str,
    params: &[Val],
) -> ThreadId {
    let instance = linker.instantiate(&mut *store, module).unwrap();
    spawn_in(store, instance, export, params)
}

/// Spawns a spinner, and returns the counter of its turns too.
pub fn spawn_spinner<T: 'static>(store: &mut Store<T>, guests: &Module) -> (ThreadId, Global) {
    let instance = Instance::new(&mut *store, guests, &[]).unwrap();
    let turns = instance.get_global(&mut *store, "turns").unwrap();
    (spawn_in(store, instance, "spin", &[]), turns)
}

/// Kills a thread from an OS thread of its own, most likely during a run.
pub fn kill_later(thread: RemoteThread) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(ms(20));
        thread.kill();
    })
}

/// Repeats `round` until its threads were preempted `least` times in all: with
/// slices of time that depends on how busy the machine is.
pub fn until_preempted(least: u64, mut round: impl FnMut() -> u64) {
    let start = Instant::now();
    let mut preemptions = 0;
    while preemptions < least {
        preemptions += round();
        assert!(start.elapsed() < HANG, "{preemptions} of {least}");
    }
}

/// Runs in pieces until `done`, however long that takes on this machine.
pub fn run_until<T: 'static>(store: &mut Store<T>, done: impl Fn(&mut Store<T>) -> bool) {
    let start = Instant::now();
    while !done(store) {
        store.run_wasm_threads_for(ms(5)).unwrap();
        assert!(start.elapsed() < HANG);
    }
}

/// Runs until each of these threads waits for something.
pub fn run_until_parked<T: 'static>(store: &mut Store<T>, ids: &[ThreadId]) {
    run_until(store, |store| {
        let state = |id: &ThreadId| id.info(&store).unwrap().state;
        ids.iter().all(|id| state(id) == ThreadState::Parked)
    });
}

/// Runs until all have finished, which they have to.
pub fn run_all<T: 'static>(store: &mut Store<T>) -> RunSummary {
    let summary = store.run_wasm_threads_for(HANG).unwrap();
    assert_eq!(summary.end, RunEnd::AllFinished, "{summary:?}");
    summary
}

pub fn finished<T: 'static>(store: &Store<T>, id: ThreadId) -> bool {
    id.info(store).unwrap().state == ThreadState::Finished
}

pub fn stats<T: 'static>(store: &Store<T>, id: ThreadId) -> ThreadStats {
    id.info(store).unwrap().stats
}

/// What a thread returned, which it has to have.
pub fn returned<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Vec<Val> {
    match id.take_exit(&mut *store) {
        Some(Exit::Returned(values)) => values,
        other => panic!("thread {id} should have returned: {other:?}"),
    }
}

/// What a thread trapped with, which it has to have.
pub fn trapped<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Error {
    match id.take_exit(&mut *store) {
        Some(Exit::Trapped(error)) => error,
        other => panic!("thread {id} should have trapped: {other:?}"),
    }
}

pub fn assert_out_of_fuel<T: 'static>(store: &mut Store<T>, id: ThreadId) {
    let error = trapped(store, id);
    assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel), "{error:?}");
}

pub fn assert_killed<T: 'static>(store: &mut Store<T>, id: ThreadId) {
    let exit = id.take_exit(&mut *store);
    assert!(matches!(exit, Some(Exit::Killed)), "{exit:?}");
}
