//! Stacks of threads that have finished are used again, as many as the embedder likes.

use crate::support::*;
use std::time::Duration;
use wasmtime::*;

for_each_preemption!(
    batch_after_batch_uses_the_same_stacks,
    no_more_stacks_are_kept_than_asked_for,
    shutdown_gives_kept_stacks_back,
    dropping_a_store_gives_kept_stacks_back,
);

fn new_store(stacks: &CountedStacks, preemption: Preemption) -> Store<()> {
    Store::new(&stacks.engine(preemption), ())
}

/// Spawns so many threads, and runs them to their ends.
fn batch(store: &mut Store<()>, threads: usize) {
    let instance = stateless(store);
    let func = instance.get_func(&mut *store, "answer").unwrap();
    for _ in 0..threads {
        let options = ThreadOptions::new().detached(true);
        options.spawn(&mut *store, func, &[]).unwrap();
    }
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!(run.finished, threads as u64);
}

fn batch_after_batch_uses_the_same_stacks(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = new_store(&stacks, preemption);
    for _ in 0..5 {
        batch(&mut store, 20);
    }
    assert_eq!(stacks.made(), 20);
    assert_eq!(stacks.live(), 20);
}

fn no_more_stacks_are_kept_than_asked_for(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = new_store(&stacks, preemption);
    batch(&mut store, 100);
    assert_eq!(stacks.live(), 64 + 1);
    store.wasm_threads().set_max_idle_stacks(5).unwrap();
    assert_eq!(stacks.live(), 5 + 1);
    batch(&mut store, 100);
    assert_eq!(stacks.live(), 5 + 1);
    store.wasm_threads().set_max_idle_stacks(0).unwrap();
    batch(&mut store, 100);
    assert_eq!(stacks.live(), 1);
}

fn shutdown_gives_kept_stacks_back(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = new_store(&stacks, preemption);
    batch(&mut store, 20);
    assert_eq!(store.shutdown_wasm_threads(), 0);
    assert_eq!(stacks.live(), 1);
    batch(&mut store, 20);
    assert_eq!(stacks.made(), 20 + 19);
}

fn dropping_a_store_gives_kept_stacks_back(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = new_store(&stacks, preemption);
    batch(&mut store, 20);
    drop(store);
    assert_eq!(stacks.live(), 0);
}

#[test]
fn idle_stacks_need_an_engine_with_preemption() {
    let mut store = Store::new(&Engine::default(), ());
    let error = store.wasm_threads().set_max_idle_stacks(1).unwrap_err();
    assert!(error.to_string().contains("Config::preemption"), "{error}");
}
