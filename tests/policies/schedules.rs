//! Under fuel a schedule can be had again: by its seed, or from a record of it.

use super::{assert_clean, assert_ended, policies, spawn_control, spawn_mix};
use crate::support::*;
use preempt_policies::{
    DivergenceReason, EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin,
    Schedule, WeightedFair,
};
use preempt_trace::text::Text;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// A run under fuel, whose threads are also suspended, resumed and killed in it, and
/// its trace.
fn traced_run(engine: &Engine, set: &dyn Fn(&mut Store<()>)) -> (Store<()>, String) {
    let module = Module::new(engine, GUESTS).unwrap();
    let mut store = store_with_slice(engine, (), Slice::Fuel(1_000));
    set(&mut store);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let mut expected = spawn_mix(&mut store, &module, 5_000);
    let a = spawn(&mut store, &module, "sum", &[Val::I64(7_000)]);
    expected.push((a, Ok(vec![24_503_500])));
    let b = spawn(&mut store, &module, "sum", &[Val::I64(9_000)]);
    let control = spawn_control(&mut store, a, b);
    expected.push((control, Ok(vec![])));
    loop {
        match store.run_wasm_threads_for(Duration::MAX).unwrap().end {
            RunEnd::AllFinished => break,
            // The first was suspended after `control` resumed it.
            RunEnd::AllSuspended => a.resume(&mut store).unwrap(),
            end => panic!("{end:?}"),
        }
    }
    let all = checker(Preemption::Fuel).all_finished(true);
    let trace = assert_clean(&all, &mut store, "under fuel");
    assert_ended(&mut store, &expected, "under fuel");
    let exit = b.take_exit(&mut store);
    assert!(
        matches!(exit, Some(Exit::Killed | Exit::Returned(_))),
        "{exit:?}"
    );
    (store, Text(&trace).to_string())
}

#[test]
fn under_fuel_the_same_guests_make_the_same_trace_under_each_policy() {
    let engine = engine(Preemption::Fuel);
    let mut config = config(Preemption::Fuel);
    config.cranelift_opt_level(OptLevel::None);
    let other = Engine::new(&config).unwrap();
    let mut traces = BTreeMap::new();
    for (name, set) in policies(1_000) {
        let (_, trace) = traced_run(&engine, &set);
        assert!(trace.contains(" preempted\n"), "{name}");
        for engine in [&engine, &other] {
            let (_, again) = traced_run(engine, &set);
            assert!(again == trace, "{name}: {trace}{again}");
        }
        traces.entry(trace).or_insert(Vec::new()).push(name);
    }
    // Most policies differ, or the above would compare what cannot differ.
    let mut same: Vec<_> = traces.into_values().collect();
    same.retain(|names| names.len() > 1);
    same.sort();
    assert_eq!(
        same,
        [["round robin", "replay"], ["weighted fair", "recorder"]]
    );
}

#[test]
fn a_seed_decides_the_schedule() {
    let engine = engine(Preemption::Fuel);
    let random = |seed| {
        let new = move || Random::seeded(seed).slices(100..=3_000);
        traced_run(&engine, &move |store| {
            store.wasm_threads().set_scheduler(new()).unwrap()
        })
        .1
    };
    let pct = |seed| {
        let new = move || Pct::new(seed, 12, 200, 3);
        traced_run(&engine, &move |store| {
            store.wasm_threads().set_scheduler(new()).unwrap()
        })
        .1
    };
    for seed in [0, 1, u64::MAX] {
        assert!(random(seed) == random(seed) && pct(seed) == pct(seed));
        assert!(random(seed) != random(seed ^ 2) && pct(seed) != pct(seed ^ 2));
    }
}

#[test]
fn a_recorded_schedule_replays_identically() {
    fn replays<S: ThreadScheduler + Clone>(engine: &Engine, policy: S) {
        let record = move |store: &mut Store<()>| {
            let recorder = Recorder::new(policy.clone());
            store.wasm_threads().set_scheduler(recorder).unwrap();
        };
        let (mut store, trace) = traced_run(engine, &record);
        let recorder = store.wasm_threads().scheduler_mut::<Recorder<S>>().unwrap();
        let schedule = recorder.take_schedule();
        assert_eq!(schedule.len(), trace.matches(" dispatched ").count() as u64);

        let read: Schedule = schedule.to_string().parse().unwrap();
        assert_eq!(read, schedule);
        for schedule in [schedule, read] {
            let replay = move |store: &mut Store<()>| {
                let replay = Replay::new(schedule.clone());
                store.wasm_threads().set_scheduler(replay).unwrap();
            };
            let (mut store, again) = traced_run(engine, &replay);
            let replay = store.wasm_threads().scheduler_mut::<Replay>().unwrap();
            assert_eq!((replay.divergence(), replay.remaining()), (None, 0));
            assert!(again == trace, "{trace}{again}");
        }
    }
    let engine = engine(Preemption::Fuel);
    replays(&engine, Random::seeded(3).slices(1..=3_000));
    replays(&engine, Random::seeded(4));
    replays(&engine, Pct::new(5, 12, 200, 3));
    replays(&engine, WeightedFair::new(700));
    replays(&engine, Priority::new(5_000));
    replays(&engine, EarliestDeadlineFirst::new());
    replays(&engine, RoundRobin::new());
}

#[test]
fn a_replay_of_other_guests_says_where_it_left_the_schedule() {
    let (mut store, module) = guests(Preemption::Fuel);
    let recorder = Recorder::new(Random::seeded(1));
    store.wasm_threads().set_scheduler(recorder).unwrap();
    let sums = |store: &mut Store<()>, turns: [i64; 2]| {
        turns.map(|n| spawn(store, &module, "sum", &[Val::I64(n)]))
    };
    sums(&mut store, [5_000, 5_000]);
    run_all(&mut store);
    let recorder = store.wasm_threads().scheduler_mut::<Recorder<Random>>();
    let schedule = recorder.unwrap().take_schedule();

    // The second is done earlier; or both are later.
    for (turns, over) in [([5_000, 100], false), ([5_000, 9_000], true)] {
        let (mut store, _) = guests(Preemption::Fuel);
        let module = Module::new(store.engine(), GUESTS).unwrap();
        store
            .wasm_threads()
            .set_scheduler(Replay::new(schedule.clone()))
            .unwrap();
        let ids = turns.map(|n| spawn(&mut store, &module, "sum", &[Val::I64(n)]));
        run_all(&mut store);
        for (id, n) in ids.into_iter().zip(turns) {
            assert_eq!(returned(&mut store, id)[0].unwrap_i64(), n * (n + 1) / 2);
        }
        let replay = store.wasm_threads().scheduler_mut::<Replay>().unwrap();
        let divergence = replay.divergence().unwrap();
        assert!(divergence.pick > 0);
        if over {
            assert_eq!(divergence.reason, DivergenceReason::ScheduleOver);
        } else {
            assert_eq!(divergence.reason, DivergenceReason::NoSuchThread(ids[1]));
        }
    }
}
