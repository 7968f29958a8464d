//! The future of a thread that ends is dropped at once, and may panic.

use super::Callers;
use crate::support::*;
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    the_future_of_a_thread_that_is_killed_or_shut_down_is_dropped_at_once,
    a_future_that_panics_while_it_is_dropped_loses_no_request,
    a_future_that_panics_in_a_poll_ends_its_thread_only,
);

fn the_future_of_a_thread_that_is_killed_or_shut_down_is_dropped_at_once(source: Preemption) {
    let engine = engine(source);
    let futures = Counter::default();
    let mut linker = Linker::<()>::new(&engine);
    let count = futures.clone();
    linker
        .func_wrap_concurrent("host", "never", move |_, ()| {
            let counted = count.counted();
            Box::pin(async move {
                let _counted = counted;
                future::pending::<()>().await
            })
        })
        .unwrap();
    let wat =
        r#"(module (import "host" "never" (func $never)) (func (export "run") (call $never)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    let ids = [(); 3].map(|()| {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        store.spawn_wasm_thread(run, &[]).unwrap()
    });
    assert_eq!(
        store.run_wasm_threads_for(Duration::MAX).unwrap().end,
        RunEnd::Deadlock
    );
    assert_eq!(futures.live(), 3, "{source}");
    ids[0].kill(&mut store).unwrap();
    assert_eq!(futures.live(), 2, "{source}");
    assert_eq!(store.shutdown_wasm_threads(), 2);
    assert_eq!(futures.live(), 0, "{source}");
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("of a destructor");
        }
    }
}

fn a_future_that_panics_while_it_is_dropped_loses_no_request(source: Preemption) {
    let mut guests = Callers::new(source, (), |_, ()| {
        let panics = PanicsOnDrop;
        Box::pin(async move {
            let _panics = panics;
            future::pending().await
        })
    });
    let ids = [(); 3].map(|()| guests.spawn("run", &[]));
    assert_eq!(guests.run(HANG).end, RunEnd::Deadlock, "{source}");
    for id in ids {
        id.remote(&mut guests.store).unwrap().kill();
    }
    for left in (0..3).rev() {
        let run = || guests.store.run_wasm_threads_for(HANG);
        assert!(
            panic::catch_unwind(AssertUnwindSafe(run)).is_err(),
            "{source}: {left} left"
        );
    }
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
}

fn a_future_that_panics_in_a_poll_ends_its_thread_only(source: Preemption) {
    let mut guests = Callers::new(source, (), |accessor, ()| {
        Box::pin(async move {
            accessor.sleep(ms(5)).await?;
            panic!("of a future")
        })
    });
    let ids = [(); 2].map(|()| guests.spawn("run", &[]));
    for id in ids {
        let run = || guests.store.run_wasm_threads_for(Duration::MAX);
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(guests.state(id), ThreadState::Finished, "{source}");
    }
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}
