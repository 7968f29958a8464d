//! `Preemption::Signal` among everything else that a process does: stray signals,
//! other handlers, host code, other stores and OS threads.

mod flood;

mod host_code;
mod other_handlers;
mod stores_and_threads;
mod stray_signals;

use crate::signal::support::*;

/// Calls of all kinds, which take several of the shortest slices each.
fn jobs<T: 'static>(store: &mut Store<T>) -> Vec<Job> {
    let module = Module::new(store.engine(), GUESTS).unwrap();
    let linker = Linker::new(store.engine());
    [
        ("fib", vec![Val::I32(24)]),
        ("sum", vec![Val::I64(400_000)]),
        ("sum_then_trap", vec![Val::I64(300_000)]),
        ("overflow", vec![]),
    ]
    .map(|(export, params)| Job::new(store, &linker, &module, export, &params))
    .into()
}

fn trap_of<T: 'static>(store: &mut Store<T>, id: ThreadId) -> Trap {
    let error = trapped(store, id);
    *error
        .downcast_ref()
        .unwrap_or_else(|| panic!("no trap: {error:?}"))
}

/// Keeps an OS thread busy in host code.
fn busy_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Runs until this OS thread has used the CPU for 40 ms, and expects that slices
/// have ended in time by then, which may be late when the machine is busy.
fn assert_slices_end<T: 'static>(store: &mut Store<T>, slice: Duration, ids: &[ThreadId]) {
    let before = os_thread_cpu_time();
    let (mut used, mut preemptions) = (Duration::ZERO, 0);
    while used < ms(40) {
        preemptions += store.run_wasm_threads_for(ms(100)).unwrap().preemptions;
        used = os_thread_cpu_time() - before;
    }
    let least = used.as_nanos() / slice.as_nanos() / 4;
    assert!(
        u128::from(preemptions) >= least,
        "{preemptions} in {used:?}"
    );
    for &id in ids {
        assert!(stats(store, id).preemptions > 1, "{:?}", stats(store, id));
    }
}
