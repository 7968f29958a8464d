//! How long a slice is, and when it changes.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    the_shortest_slice_works,
    listing_shows_the_slice_of_each_thread,
    a_slice_can_be_changed_between_runs,
    a_thread_keeps_a_slice_of_its_own,
    the_longest_slice_works,
);

/// Twice, four times, ... the short slice.
fn slice(preemption: Preemption, times: u32) -> Slice {
    match short_slice(preemption) {
        Slice::Fuel(fuel) => Slice::Fuel(fuel * u64::from(times)),
        Slice::Time(time) => Slice::Time(time * times),
        _ => unreachable!(),
    }
}

fn the_shortest_slice_works(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store
        .wasm_threads()
        .set_slice(shortest_slice(preemption))
        .unwrap();
    let (n, least) = match preemption {
        // At each turn of the loops.
        Preemption::Fuel => (50_000, 100_000),
        _ => (20_000_000, 50),
    };
    until_preempted(least, || {
        let ids = [(); 2].map(|()| spawn(&mut store, &module, "sum", &[Val::I64(n)]));
        let run = run_all(&mut store);
        for id in ids {
            assert_eq!(bits(&returned(&mut store, id)), [(n * (n + 1) / 2) as u128]);
        }
        run.preemptions
    });
}

fn the_longest_slice_works(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store
        .wasm_threads()
        .set_slice(match preemption {
            Preemption::Fuel => Slice::Fuel(i64::MAX as u64),
            _ => Slice::Time(Duration::from_nanos(i64::MAX as u64)),
        })
        .unwrap();
    let a = spawn(&mut store, &module, "fib", &[Val::I32(20)]);
    let b = spawn(&mut store, &module, "fib", &[Val::I32(10)]);
    let run = run_all(&mut store);
    assert_eq!((run.dispatches, run.preemptions), (2, 0));
    assert_eq!(bits(&returned(&mut store, a)), [6_765]);
    assert_eq!(bits(&returned(&mut store, b)), [55]);
}

fn listing_shows_the_slice_of_each_thread(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let a = spawn(&mut store, &module, "nothing", &[]);
    let b = spawn(&mut store, &module, "nothing", &[]);
    b.set_slice(&mut store, slice(preemption, 2)).unwrap();
    store
        .wasm_threads()
        .set_slice(slice(preemption, 3))
        .unwrap();
    assert_eq!(a.info(&store).unwrap().slice, slice(preemption, 3));
    assert_eq!(b.info(&store).unwrap().slice, slice(preemption, 2));
}

/// What it used per dispatch since `before`, in units or microseconds.
fn per_dispatch(preemption: Preemption, before: ThreadStats, after: ThreadStats) -> u64 {
    let used = match preemption {
        Preemption::Fuel => after.fuel_consumed - before.fuel_consumed,
        _ => (after.cpu_time - before.cpu_time).as_micros() as u64,
    };
    used / (after.dispatches - before.dispatches)
}

fn a_slice_can_be_changed_between_runs(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let (id, _) = spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);

    let mut lengths = Vec::new();
    for times in [5, 2_500, 5] {
        store
            .wasm_threads()
            .set_slice(slice(preemption, times))
            .unwrap();
        let before = stats(&store, id);
        store.run_wasm_threads_for(ms(1_200)).unwrap();
        lengths.push(per_dispatch(preemption, before, stats(&store, id)));
    }
    // 500 times, with a wide margin for a busy machine.
    assert!(lengths[1] > 3 * lengths[0].min(lengths[2]), "{lengths:?}");
}

fn a_thread_keeps_a_slice_of_its_own(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store
        .wasm_threads()
        .set_slice(slice(preemption, 1))
        .unwrap();
    let (usual, _) = spawn_spinner(&mut store, &module);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let spin = instance.get_func(&mut store, "spin").unwrap();
    let options = ThreadOptions::new().slice(slice(preemption, 2_500));
    let special = options.spawn(&mut store, spin, &[]).unwrap();
    // Not that of the thread that has its own.
    store
        .wasm_threads()
        .set_slice(slice(preemption, 5))
        .unwrap();

    store.run_wasm_threads_for(ms(1_200)).unwrap();
    let per_dispatch = |id| per_dispatch(preemption, ThreadStats::default(), stats(&store, id));
    let (usual, special) = (per_dispatch(usual), per_dispatch(special));
    assert!(special > 3 * usual, "{special} to {usual}");
}

/// A store whose guest calls `host` and then spins, and such a thread.
fn calls_then_spins(
    host: impl Fn(Caller<'_, ()>) -> Result<()> + Send + Sync + 'static,
) -> (Store<()>, ThreadId) {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, CALLS_THEN_SPINS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "host", host).unwrap();
    let mut store = store_with_slice(&engine, (), Slice::Fuel(1_000_000));
    let id = spawn_linked(&mut store, &linker, &module, "run", &[]);
    (store, id)
}

#[test]
fn a_host_function_changes_the_callers_slice_from_its_next_dispatch_on() {
    let (mut store, id) = calls_then_spins(|mut caller| {
        let id = caller.wasm_threads().current().unwrap();
        id.set_slice(&mut caller, Slice::Fuel(1_000))
    });
    store.run_wasm_threads_for(ms(50)).unwrap();
    let stats = stats(&store, id);
    let later = stats.dispatches - 1;
    let least = shortest(1_000_000) + shortest(1_000) * later;
    let most = 1_000_000 + 1_000 * later + 10 * stats.dispatches;
    assert!(
        stats.dispatches > 2 && (least..=most).contains(&stats.fuel_consumed),
        "{stats:?}"
    );
}

#[test]
fn a_host_function_changes_the_slice_of_the_store() {
    let (mut store, id) = calls_then_spins(|mut caller| {
        let mut store = caller.as_context_mut();
        store.wasm_threads().set_slice(Slice::Fuel(1_000))
    });
    let module = Module::new(store.engine(), GUESTS).unwrap();
    let (sibling, _) = spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(50)).unwrap();
    assert_eq!(id.info(&store).unwrap().slice, Slice::Fuel(1_000));
    let stats = stats(&store, sibling);
    let least = shortest(1_000) * (stats.dispatches - 1);
    let most = (1_000 + 10) * stats.dispatches;
    assert!(
        stats.dispatches > 2 && (least..=most).contains(&stats.fuel_consumed),
        "{stats:?}"
    );
}

/// What a slice of so much fuel has at least.
fn shortest(slice: u64) -> u64 {
    slice - (slice / 8).max(16).min(slice - 1)
}

#[test]
fn a_slice_of_fuel_is_over_at_a_check_after_its_length_or_a_little_less() {
    for slice in [1, 2, 3, 10, 1_000, 123_456] {
        let (mut store, module) = guests(Preemption::Fuel);
        store.wasm_threads().set_slice(Slice::Fuel(slice)).unwrap();
        let (id, _) = spawn_spinner(&mut store, &module);
        store.run_wasm_threads_for(ms(30)).unwrap();
        let stats = stats(&store, id);
        assert!(stats.preemptions > 10);
        let least = shortest(slice) * stats.preemptions;
        let most = (slice + 10) * stats.preemptions;
        assert!((least..=most).contains(&stats.fuel_consumed), "{stats:?}");
    }
}

#[test]
fn a_slice_is_10_ms_under_epochs_by_default() {
    let engine = engine(Preemption::Epoch);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    let (id, _) = spawn_spinner(&mut store, &module);
    spawn_spinner(&mut store, &module);
    assert_eq!(id.info(&store).unwrap().slice, Slice::Time(ms(10)));
    let run = store.run_wasm_threads_for(ms(1_000)).unwrap();
    // No slice is shorter, so there cannot be more. A busy machine makes them
    // longer.
    let most = 1 + (run.elapsed.as_millis() / 10) as u64;
    assert!((2..=most).contains(&run.dispatches), "{run:?}");
}

#[test]
fn a_slice_is_10_million_units_under_fuel_by_default() {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    let (id, _) = spawn_spinner(&mut store, &module);
    assert_eq!(id.info(&store).unwrap().slice, Slice::Fuel(10_000_000));
    store.run_wasm_threads_for(Duration::from_nanos(1)).unwrap();
    let stats = stats(&store, id);
    assert!(
        (shortest(10_000_000)..10_000_010).contains(&stats.fuel_consumed),
        "{stats:?}"
    );
}

#[test]
fn no_slice_of_time_ends_early() {
    let slice = ms(3);
    let (mut store, module) = guests(Preemption::Epoch);
    store.wasm_threads().set_slice(Slice::Time(slice)).unwrap();
    let ids = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
    store.run_wasm_threads_for(ms(200)).unwrap();
    for id in ids {
        let stats = stats(&store, id);
        // The last one is cut short by the end of the run.
        let full = u32::try_from(stats.preemptions).unwrap() - 1;
        assert!(stats.cpu_time >= slice * full, "{stats:?}");
    }
}

#[test]
fn under_epochs_a_thread_that_is_alone_is_not_preempted() {
    let (mut store, module) = guests(Preemption::Epoch);
    let (id, _) = spawn_spinner(&mut store, &module);
    let run = store.run_wasm_threads_for(ms(50)).unwrap();
    // Only by the end of the run.
    assert_eq!((run.dispatches, run.end), (1, RunEnd::TimeUp));
    assert!(stats(&store, id).cpu_time >= ms(50));
}
