//! Dropping a store ends its threads first, wherever they are, and leaks nothing.

use crate::support::*;
use std::sync::{Arc, Mutex};
use std::thread;
use wasmtime::*;

for_each_preemption!(
    dropping_a_store_gives_all_stacks_back,
    a_store_is_dropped_on_another_os_thread,
    threads_end_before_the_data_of_the_store_goes,
    into_data_ends_the_threads,
    exits_that_were_not_taken_are_dropped,
    the_engine_may_go_before_the_store,
    a_store_is_dropped_while_its_os_thread_panics,
    many_stores_come_and_go,
);

/// Threads that were never started, are suspended, detached, or have ended.
fn populate<T: 'static>(store: &mut Store<T>, preemption: Preemption) {
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    let instance = stateless(store);
    for round in 0..2 {
        for export in ["spin", "answer", "trap", "overflow"] {
            spawn_in(store, instance, export, &[]);
            let func = instance.get_func(&mut *store, export).unwrap();
            let options = ThreadOptions::new().detached(true);
            options.spawn(&mut *store, func, &[]).unwrap();
        }
        let mut finished = if round == 0 { 0 } else { 6 };
        while finished < 6 {
            finished += store.run_wasm_threads_for(ms(5)).unwrap().finished;
        }
    }
    assert_eq!(store.wasm_threads().iter().count(), 2 + 3 + 8);
}

fn dropping_a_store_gives_all_stacks_back(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    for _ in 0..3 {
        let mut store = Store::new(&engine, ());
        populate(&mut store, preemption);
        assert!(stacks.live() >= 10);
        drop(store);
        assert_eq!(stacks.live(), 0);
    }
}

fn a_store_is_dropped_on_another_os_thread(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = Store::new(&stacks.engine(preemption), ());
    populate(&mut store, preemption);
    thread::spawn(move || drop(store)).join().unwrap();
    assert_eq!(stacks.live(), 0);
}

fn threads_end_before_the_data_of_the_store_goes(preemption: Preemption) {
    /// Looks at the stacks when it goes.
    struct Data(CountedStacks, Arc<Mutex<Option<usize>>>);

    impl Drop for Data {
        fn drop(&mut self) {
            let mut seen = self.1.lock().unwrap();
            assert!(seen.is_none());
            *seen = Some(self.0.live());
        }
    }

    let stacks = CountedStacks::default();
    let seen = Arc::new(Mutex::new(None));
    let data = Data(stacks.clone(), seen.clone());
    let mut store = Store::new(&stacks.engine(preemption), data);
    populate(&mut store, preemption);
    drop(store);
    assert_eq!(*seen.lock().unwrap(), Some(0));
}

fn into_data_ends_the_threads(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = Store::new(&stacks.engine(preemption), vec![1, 2, 3]);
    populate(&mut store, preemption);
    assert_eq!(store.into_data(), [1, 2, 3]);
    assert_eq!(stacks.live(), 0);
}

fn exits_that_were_not_taken_are_dropped(preemption: Preemption) {
    #[derive(Debug)]
    struct CountedError(#[expect(dead_code, reason = "it counts")] Counted);

    impl std::fmt::Display for CountedError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("counted")
        }
    }

    impl std::error::Error for CountedError {}

    let exits = Counter::default();
    let mut store = Store::new(&engine(preemption), ());
    let fails = Func::wrap(&mut store, {
        let exits = exits.clone();
        move || -> Result<()> { Err(CountedError(exits.counted()).into()) }
    });
    let returns = Func::wrap(&mut store, {
        let exits = exits.clone();
        move |mut caller: Caller<'_, ()>| ExternRef::new(&mut caller, exits.counted()).map(Some)
    });
    for _ in 0..5 {
        for kind in [fails, returns] {
            store.spawn_wasm_thread(kind, &[]).unwrap();
        }
    }
    run_all(&mut store);
    assert_eq!(exits.live(), 10);
    drop(store);
    assert_eq!(exits.live(), 0);
}

fn the_engine_may_go_before_the_store(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let mut store = {
        let engine = stacks.engine(preemption);
        Store::new(&engine, ())
    };
    populate(&mut store, preemption);
    drop(store);
    assert_eq!(stacks.live(), 0);
}

fn a_store_is_dropped_while_its_os_thread_panics(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    let panic = thread::spawn(move || {
        let mut store = Store::new(&engine, ());
        populate(&mut store, preemption);
        panic!("on purpose");
    })
    .join()
    .unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert_eq!(stacks.live(), 0);
}

fn many_stores_come_and_go(preemption: Preemption) {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(preemption);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut store = Store::new(&engine, ());
                    populate(&mut store, preemption);
                }
            });
        }
    });
    assert_eq!(stacks.live(), 0);
    assert!(stacks.made() >= 4 * 5 * 10);
}
