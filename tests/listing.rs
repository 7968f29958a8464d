//! What the store says of its threads.

use crate::support::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    threads_are_listed_in_the_order_of_their_spawning,
    states_are_those_of_the_moment,
    figures_only_grow_and_add_up_to_those_of_the_runs,
    ids_are_never_reused,
    a_store_without_threads_lists_none,
    everything_can_be_printed,
);

fn threads_are_listed_in_the_order_of_their_spawning(preemption: Preemption) {
    let (mut store, _) = guests(preemption);
    let instance = stateless(&mut store);
    let mut expected = Vec::new();
    for i in 0..50 {
        let export = ["spin", "answer"][i % 2];
        let func = instance.get_func(&mut store, export).unwrap();
        let mut options = ThreadOptions::new();
        let name = (i % 3 == 0).then(|| format!("number {i}"));
        if let Some(name) = &name {
            options = options.name(name);
        }
        let id = options.spawn(&mut store, func, &[]).unwrap();
        expected.push((id, name));
    }
    store.run_wasm_threads_for(ms(20)).unwrap();
    let listed: Vec<_> = store
        .wasm_threads()
        .iter()
        .map(|thread| (thread.id, thread.name.map(str::to_owned)))
        .collect();
    assert_eq!(listed, expected);
    assert!(listed.is_sorted());
}

fn states_are_those_of_the_moment(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    let state = |store: &Store<()>| id.info(store).map(|thread| thread.state);
    assert_eq!(state(&store), Some(ThreadState::Ready));
    let seen = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        let this = caller.wasm_threads().current().unwrap();
        let state = |id: ThreadId| id.info(&caller).unwrap().state;
        assert_eq!(state(this), ThreadState::Running);
        assert_eq!(state(id), ThreadState::Finished);
    });
    let seen = store.spawn_wasm_thread(seen, &[]).unwrap();
    run_all(&mut store);
    returned(&mut store, seen);
    assert_eq!(state(&store), Some(ThreadState::Finished));
    returned(&mut store, id);
    assert_eq!(state(&store), None);
}

fn figures_only_grow_and_add_up_to_those_of_the_runs(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    for _ in 0..4 {
        spawn_spinner(&mut store, &module);
    }
    spawn(&mut store, &module, "sum", &[Val::I64(10_000)]);
    spawn(&mut store, &module, "trap", &[]);
    let (mut dispatches, mut preemptions, mut finished) = (0, 0, 0);
    let mut elapsed = Duration::ZERO;
    let mut before = vec![ThreadStats::default(); 6];
    for _ in 0..10 {
        let run = store.run_wasm_threads_for(ms(10)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        assert!(run.elapsed >= ms(10));
        dispatches += run.dispatches;
        preemptions += run.preemptions;
        finished += run.finished;
        elapsed += run.elapsed;
        let now: Vec<_> = store
            .wasm_threads()
            .iter()
            .map(|thread| thread.stats)
            .collect();
        for (before, now) in before.iter().zip(&now) {
            assert!(before.cpu_time <= now.cpu_time);
            assert!(before.dispatches <= now.dispatches);
            assert!(before.preemptions <= now.preemptions);
            assert!(before.fuel_consumed <= now.fuel_consumed);
        }
        before = now;
    }
    assert_eq!(before.iter().map(|s| s.dispatches).sum::<u64>(), dispatches);
    assert_eq!(
        before.iter().map(|s| s.preemptions).sum::<u64>(),
        preemptions
    );
    assert_eq!(dispatches, preemptions + finished);
    assert_eq!(finished, 2);
    let time: Duration = before.iter().map(|s| s.cpu_time).sum();
    assert!(time <= elapsed, "{time:?} of {elapsed:?}");
    assert!(time >= elapsed / 2, "{time:?} of {elapsed:?}");
}

fn ids_are_never_reused(preemption: Preemption) {
    let (mut store, _) = guests(preemption);
    let instance = stateless(&mut store);
    let mut seen = HashSet::new();
    for i in 0..300 {
        let id = spawn_in(&mut store, instance, "answer", &[]);
        assert!(seen.insert(id));
        match i % 3 {
            0 => drop(run_all(&mut store)),
            1 => drop(store.shutdown_wasm_threads()),
            _ => continue,
        }
        id.take_exit(&mut store);
        assert!(id.info(&store).is_none());
    }
}

fn a_store_without_threads_lists_none(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    assert_eq!(store.wasm_threads().iter().count(), 0);
    let id = spawn(&mut store, &module, "answer", &[]);
    let mut other = Store::new(&engine(preemption), ());
    assert!(id.info(&other).is_none());
    assert!(id.take_exit(&mut other).is_none());
    // Of an engine without preemption, too.
    let mut plain = Store::<()>::default();
    assert_eq!(plain.wasm_threads().iter().count(), 0);
    assert!(id.info(&plain).is_none());
    assert!(id.take_exit(&mut plain).is_none());
    assert_eq!(plain.as_context_mut().wasm_threads().current(), None);
}

fn everything_can_be_printed(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    let info = id.info(&store).unwrap();
    assert!(format!("{info:?}").contains("Ready"));
    assert_eq!(info.state.to_string(), "ready");
    assert_eq!(id.to_string(), id.as_u64().to_string());
    assert!(info.slice.to_string().contains(match preemption {
        Preemption::Fuel => "1000 units of fuel",
        _ => "200µs",
    }));
    assert!(preemption.to_string().starts_with("Preemption::"));
}

#[test]
fn waits_go_on_from_run_to_run() {
    let (mut store, module) = guests(Preemption::Epoch);
    store.wasm_threads().set_slice(Slice::Time(ms(40))).unwrap();
    spawn_spinner(&mut store, &module);
    let (waiting, _) = spawn_spinner(&mut store, &module);
    let mut runs = Duration::ZERO;
    while stats(&store, waiting).dispatches == 0 {
        runs += store.run_wasm_threads_for(ms(10)).unwrap().elapsed;
        // This is not in a run.
        std::thread::sleep(ms(5));
    }
    let stats = stats(&store, waiting);
    assert!(stats.ready_time >= ms(1), "{stats:?}");
    assert!(stats.ready_time <= runs, "{stats:?} in {runs:?}");
    assert_eq!(stats.ready_time, stats.longest_wait);
}

#[test]
fn wall_time_is_that_of_runs_since_the_thread_was_spawned() {
    let (mut store, module) = guests(Preemption::Epoch);
    let (early, _) = spawn_spinner(&mut store, &module);
    store.run_wasm_threads_for(ms(10)).unwrap();
    let (late, _) = spawn_spinner(&mut store, &module);
    late.suspend(&mut store).unwrap();
    let before = Instant::now();
    store.run_wasm_threads_for(ms(10)).unwrap();
    let run = before.elapsed();
    std::thread::sleep(ms(20));
    let [early, late_stats] = [early, late].map(|id| stats(&store, id));
    assert!(early.wall_time >= ms(20), "{early:?}");
    assert!(late_stats.wall_time >= ms(10), "{late_stats:?}");
    assert!(late_stats.wall_time <= run, "{late_stats:?} in {run:?}");
    assert_eq!(late_stats.cpu_time + late_stats.ready_time, Duration::ZERO);
    late.kill(&mut store).unwrap();
    let killed = stats(&store, late).wall_time;
    store.run_wasm_threads_for(ms(10)).unwrap();
    assert_eq!(stats(&store, late).wall_time, killed);
}
