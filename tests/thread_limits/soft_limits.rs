//! A soft limit calls a hook of the host, which may do what it likes.

use super::{new_store, over, spin};
use crate::support::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_soft_limit_calls_the_host_once_and_the_thread_goes_on,
    the_hook_of_a_soft_limit_can_raise_it_and_spawn_and_kill,
    an_error_of_the_hook_ends_the_thread_only,
    an_error_of_the_hook_is_told_even_if_the_hard_limit_is_reached,
    a_hook_that_panics_is_called_again,
);

fn a_soft_limit_calls_the_host_once_and_the_thread_goes_on(preemption: Preemption) {
    let (mut store, module) = new_store(&config_with_fuel(preemption));
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    store
        .wasm_threads()
        .set_soft_limit_hook(move |_, soft| {
            log.lock().unwrap().push(soft);
            Ok(())
        })
        .unwrap();
    let limits = ThreadLimits::new().soft_fuel(10_000).fuel(50_000);
    let id = spin(&mut store, &module, ThreadOptions::new().limits(limits));
    run_all(&mut store);
    assert!(matches!(
        over(&mut store, id),
        OverLimit::Fuel { limit: 50_000, .. }
    ));
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].thread, id);
    match told[0].limit {
        OverLimit::Fuel { limit, used, .. } => {
            assert!(
                limit == 10_000 && (10_000..10_010).contains(&used),
                "{used}"
            );
        }
        limit => panic!("{limit}"),
    }
}

fn the_hook_of_a_soft_limit_can_raise_it_and_spawn_and_kill(preemption: Preemption) {
    let (mut store, module) = new_store(&config(preemption));
    let sibling = spin(&mut store, &module, ThreadOptions::new());
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let guests = module.clone();
    store
        .wasm_threads()
        .set_soft_limit_hook(move |mut store, soft| {
            let n = count.fetch_add(1, Ordering::Relaxed) + 1;
            if n < 3 {
                let limits = ThreadLimits::new().soft_cpu_time(ms(5) * (n as u32 + 1));
                return soft.thread.set_limits(&mut store, limits);
            }
            let instance = Instance::new(&mut store, &guests, &[])?;
            let answer = instance.get_func(&mut store, "answer").unwrap();
            store.spawn_wasm_thread(answer, &[])?;
            soft.thread.kill(&mut store)?;
            sibling.kill(&mut store)
        })
        .unwrap();
    let limits = ThreadLimits::new().soft_cpu_time(ms(5));
    let id = spin(&mut store, &module, ThreadOptions::new().limits(limits));
    assert_eq!(run_all(&mut store).end, RunEnd::AllFinished);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_killed(&mut store, id);
    assert_killed(&mut store, sibling);
    let answer = ThreadId::from_u64(3);
    assert_eq!(returned(&mut store, answer)[0].unwrap_i32(), 42);
}

fn an_error_of_the_hook_ends_the_thread_only(preemption: Preemption) {
    let (mut store, module) = new_store(&config(preemption));
    store
        .wasm_threads()
        .set_soft_limit_hook(|_, _| Err(format_err!("enough")))
        .unwrap();
    let limits = ThreadLimits::new().soft_cpu_time(ms(2));
    let id = spin(&mut store, &module, ThreadOptions::new().limits(limits));
    let fib = spawn(&mut store, &module, "fib", &[Val::I32(15)]);
    run_all(&mut store);
    assert_eq!(trapped(&mut store, id).to_string(), "enough");
    assert_eq!(returned(&mut store, fib)[0].unwrap_i32(), 610);
}

fn an_error_of_the_hook_is_told_even_if_the_hard_limit_is_reached(preemption: Preemption) {
    let (mut store, module) = new_store(&config(preemption));
    store
        .wasm_threads()
        .set_soft_limit_hook(|_, _| Err(format_err!("enough")))
        .unwrap();
    let limits = ThreadLimits::new().soft_cpu_time(ms(2)).cpu_time(ms(2));
    let id = spin(&mut store, &module, ThreadOptions::new().limits(limits));
    run_all(&mut store);
    assert_eq!(trapped(&mut store, id).to_string(), "enough");
}

fn a_hook_that_panics_is_called_again(preemption: Preemption) {
    let (mut store, module) = new_store(&config(preemption));
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    store
        .wasm_threads()
        .set_soft_limit_hook(move |_, _| {
            assert!(count.fetch_add(1, Ordering::Relaxed) > 0);
            Err(format_err!("enough"))
        })
        .unwrap();
    let limits = ThreadLimits::new().soft_cpu_time(ms(2));
    for _ in 0..2 {
        spin(&mut store, &module, ThreadOptions::new().limits(limits));
    }
    let run = std::panic::AssertUnwindSafe(|| store.run_wasm_threads_for(Duration::MAX));
    assert!(std::panic::catch_unwind(run).is_err());
    run_until(&mut store, |_| calls.load(Ordering::Relaxed) > 1);
    // And no more than that.
    store.run_wasm_threads_for(ms(50)).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
