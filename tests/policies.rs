//! The policies of `preempt-policies` schedule real guests: each keeps its promise,
//! loses no thread, and under fuel makes the same schedule every time.

use crate::support::*;
use preempt_policies::{
    DivergenceReason, EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin,
    Schedule, WeightedFair,
};
use preempt_trace::check::{Checker, Order};
use preempt_trace::stats::{Stats, jain};
use preempt_trace::text::Text;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// Fuel from one check to the next in these guests, at most.
const BETWEEN_CHECKS: u64 = 100;

/// Room for all events of these runs.
const EVENTS: usize = 1 << 18;

/// The short slice in ticks.
fn short_ticks(preemption: Preemption) -> u64 {
    match short_slice(preemption) {
        Slice::Fuel(fuel) => fuel,
        Slice::Time(time) => u64::try_from(time.as_nanos()).unwrap(),
        _ => unreachable!(),
    }
}

type SetPolicy = Box<dyn Fn(&mut Store<()>)>;

/// All policies, with slices of about `ticks`.
fn policies(ticks: u64) -> Vec<(&'static str, SetPolicy)> {
    fn set<S: ThreadScheduler>(new: impl Fn() -> S + 'static) -> SetPolicy {
        Box::new(move |store| store.wasm_threads().set_scheduler(new()).unwrap())
    }
    let range = ticks / 2..=ticks.saturating_mul(2);
    vec![
        ("round robin", set(RoundRobin::new)),
        ("weighted fair", set(move || WeightedFair::new(ticks))),
        ("strict priority", set(Priority::strict)),
        (
            "priority",
            set(move || Priority::new(ticks.saturating_mul(10))),
        ),
        ("earliest deadline", set(EarliestDeadlineFirst::new)),
        ("random", set(|| Random::seeded(7))),
        (
            "random slices",
            set(move || Random::seeded(7).slices(range.clone())),
        ),
        ("pct", set(|| Pct::new(7, 8, 500, 3))),
        (
            "recorder",
            set(move || Recorder::new(WeightedFair::new(ticks))),
        ),
        // Which ends at once, and from then on is round robin.
        ("replay", set(|| Replay::new(Schedule::new()))),
    ]
}

fn spawn_with(
    store: &mut Store<()>,
    module: &Module,
    export: &str,
    params: &[Val],
    options: ThreadOptions,
) -> ThreadId {
    let instance = Instance::new(&mut *store, module, &[]).unwrap();
    let func = instance.get_func(&mut *store, export).unwrap();
    options.spawn(&mut *store, func, params).unwrap()
}

/// A thread, and what it is to end with.
type Expected = (ThreadId, Result<Vec<u128>, Trap>);

/// Guests of all kinds, with all kinds of parameters.
fn spawn_mix(store: &mut Store<()>, module: &Module, turns: i64) -> Vec<Expected> {
    let unreachable = Trap::UnreachableCodeReached;
    let sum = |n: i64| Ok(vec![u128::try_from(n * (n + 1) / 2).unwrap()]);
    let guests = [
        ("sum", vec![Val::I64(turns)], sum(turns)),
        ("fib", vec![Val::I32(15)], Ok(vec![610])),
        ("sum", vec![Val::I64(turns / 2)], sum(turns / 2)),
        ("answer", vec![], Ok(vec![42])),
        ("sum_then_trap", vec![Val::I64(turns / 2)], Err(unreachable)),
        ("nothing", vec![], Ok(vec![])),
        ("overflow", vec![], Err(Trap::StackOverflow)),
        ("trap", vec![], Err(unreachable)),
        ("sum", vec![Val::I64(turns + 1)], sum(turns + 1)),
    ];
    let spawn = |(n, (export, params, ends)): (u32, (&str, Vec<Val>, _))| {
        let mut options = ThreadOptions::new()
            .name(export)
            .weight(1 + n)
            .priority(i32::try_from(n % 4).unwrap())
            .group(u64::from(n % 3));
        if n % 2 == 0 {
            options = options.deadline(u64::from(n) * 10_000);
        }
        (spawn_with(store, module, export, &params, options), ends)
    };
    (0..).zip(guests).map(spawn).collect()
}

fn assert_ended(store: &mut Store<()>, expected: &[Expected], what: &str) {
    for (id, ends) in expected {
        match (id.take_exit(&mut *store), ends) {
            (Some(Exit::Returned(values)), Ok(right)) => {
                assert_eq!(&bits(&values), right, "{what}, thread {id}");
            }
            (Some(Exit::Trapped(error)), Err(trap)) => {
                assert_eq!(
                    error.downcast_ref(),
                    Some(trap),
                    "{what}, thread {id}: {error:?}"
                );
            }
            (exit, ends) => panic!("{what}, thread {id}: {exit:?}, not {ends:?}"),
        }
    }
}

fn checker(preemption: Preemption) -> Checker {
    Checker::new().tolerance(match preemption {
        Preemption::Fuel => BETWEEN_CHECKS,
        _ => LATE,
    })
}

fn assert_clean(checker: &Checker, store: &mut Store<()>, what: &str) -> Trace {
    let trace = store.wasm_threads().take_trace().unwrap();
    assert_eq!(trace.lost, 0);
    let report = checker.check(&trace);
    assert!(report.is_ok(), "{what}: {report}");
    trace
}

for_each_preemption!(
    a_mix_of_guests_ends_right_under_each_policy_and_source,
    threads_are_suspended_resumed_and_killed_under_each_policy_and_source,
    policies_are_swapped_between_runs,
    extreme_parameters_and_slices_keep_nobody_from_finishing,
);

fn a_mix_of_guests_ends_right_under_each_policy_and_source(preemption: Preemption) {
    let turns = 20 * i64::from(some_turns(preemption)).min(100_000);
    for (name, set) in policies(short_ticks(preemption)) {
        let what = format!("{name}, {preemption}");
        let (mut store, module) = guests(preemption);
        set(&mut store);
        store.wasm_threads().set_trace(EVENTS).unwrap();
        let expected = spawn_mix(&mut store, &module, turns);
        let run = run_all(&mut store);
        assert_eq!(run.finished, expected.len() as u64, "{what}");
        assert_eq!(run.dispatches, run.preemptions + run.finished, "{what}");
        let all = checker(preemption).all_finished(true);
        assert_clean(&all, &mut store, &what);
        assert_ended(&mut store, &expected, &what);
    }
}

fn threads_are_suspended_resumed_and_killed_under_each_policy_and_source(preemption: Preemption) {
    for (name, set) in policies(short_ticks(preemption)) {
        let what = format!("{name}, {preemption}");
        let (mut store, module) = guests(preemption);
        set(&mut store);
        store.wasm_threads().set_trace(EVENTS).unwrap();
        let [a, b, c] = [(); 3].map(|()| spawn_spinner(&mut store, &module).0);
        store.run_wasm_threads_for(ms(5)).unwrap();

        a.suspend(&mut store).unwrap();
        b.suspend(&mut store).unwrap();
        let before = stats(&store, a).dispatches;
        let run = store.run_wasm_threads_for(ms(5)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp, "{what}");
        assert_eq!(stats(&store, a).dispatches, before, "{what}");
        assert!(stats(&store, c).dispatches > 0, "{what}");

        // A suspended one, and one that has run.
        b.kill(&mut store).unwrap();
        c.kill(&mut store).unwrap();
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(
            (run.end, run.dispatches),
            (RunEnd::AllSuspended, 0),
            "{what}"
        );

        a.resume(&mut store).unwrap();
        store.run_wasm_threads_for(ms(5)).unwrap();
        assert!(stats(&store, a).dispatches > before, "{what}");

        let late = spawn(&mut store, &module, "answer", &[]);
        a.kill(&mut store).unwrap();
        assert_eq!(run_all(&mut store).finished, 1, "{what}");
        assert_eq!(returned(&mut store, late)[0].unwrap_i32(), 42);
        for id in [a, b, c] {
            assert_killed(&mut store, id);
        }
        let all = checker(preemption).all_finished(true);
        assert_clean(&all, &mut store, &what);
    }
}

fn policies_are_swapped_between_runs(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let turns = match preemption {
        Preemption::Fuel => 200_000,
        _ => 5_000_000,
    };
    let expected = spawn_mix(&mut store, &module, turns);
    let suspended = spawn(&mut store, &module, "answer", &[]);
    suspended.suspend(&mut store).unwrap();
    for (_, set) in policies(short_ticks(preemption)) {
        set(&mut store);
        store.run_wasm_threads_for(ms(1)).unwrap();
    }
    suspended.resume(&mut store).unwrap();
    store
        .wasm_threads()
        .set_scheduler(RoundRobin::new())
        .unwrap();
    run_all(&mut store);
    assert_eq!(returned(&mut store, suspended)[0].unwrap_i32(), 42);
    let what = preemption.to_string();
    let all = checker(preemption).all_finished(true);
    assert_clean(&all, &mut store, &what);
    assert_ended(&mut store, &expected, &what);
}

fn extreme_parameters_and_slices_keep_nobody_from_finishing(preemption: Preemption) {
    for ticks in [0, 1, u64::MAX / 2] {
        for (name, set) in policies(ticks) {
            let (mut store, module) = guests(preemption);
            set(&mut store);
            let new = ThreadOptions::new;
            let extremes = [
                new().weight(u32::MAX).deadline(u64::MAX).group(u64::MAX),
                new().priority(i32::MIN).deadline(0).group(u64::MAX),
                new().priority(i32::MAX),
            ];
            let ids = extremes.map(|options| {
                let params = [Val::I64(1_000)];
                spawn_with(&mut store, &module, "sum", &params, options)
            });
            run_all(&mut store);
            for id in ids {
                let sum = returned(&mut store, id)[0].unwrap_i64();
                assert_eq!(sum, 500_500, "{name}, {preemption}, {ticks}");
            }
        }
    }
}

#[test]
fn two_thousand_threads_finish_under_each_policy() {
    let engine = engine(Preemption::Fuel);
    for (name, set) in policies(500) {
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(Slice::Fuel(500)).unwrap();
        set(&mut store);
        let sum = stateless(&mut store)
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        let ids: Vec<_> = (0..2_000_u32)
            .map(|n| {
                let options = ThreadOptions::new()
                    .weight(1 + n % 7)
                    .priority(i32::try_from(n % 5).unwrap())
                    .group(u64::from(n % 11))
                    .deadline(u64::from(n % 13) * 1_000);
                let n = i64::from(n % 200);
                let id = options.spawn_typed(&mut store, &sum, n);
                (n, id.unwrap())
            })
            .collect();
        let run = run_all(&mut store);
        assert_eq!(run.finished, 2_000, "{name}");
        assert!(run.preemptions > 1_000, "{name}: {run:?}");
        for (n, id) in ids {
            match id.take_exit(&mut store) {
                Some(TypedExit::Returned(sum)) => assert_eq!(sum, n * (n + 1) / 2),
                exit => panic!("{name}: {exit:?}"),
            }
        }
    }
}

/// Suspends a thread, kills another one, and resumes the first.
const CONTROL: &str = r#"
(module
  (import "" "suspend" (func $suspend (param i64)))
  (import "" "resume" (func $resume (param i64)))
  (import "" "kill" (func $kill (param i64)))
  (func $wait
    (local $n i32)
    (local.set $n (i32.const 500))
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "control") (param $a i64) (param $b i64)
    (call $wait)
    (call $suspend (local.get $a))
    (call $wait)
    (call $kill (local.get $b))
    (call $wait)
    (call $resume (local.get $a))))
"#;

fn spawn_control(store: &mut Store<()>, a: ThreadId, b: ThreadId) -> ThreadId {
    let module = Module::new(store.engine(), CONTROL).unwrap();
    let mut linker = Linker::new(store.engine());
    type Ask = fn(&mut StoreContextMut<'_, ()>, ThreadId) -> Result<()>;
    let asks: [(&str, Ask); 3] = [
        ("suspend", |store, id| id.suspend(&mut *store)),
        ("resume", |store, id| id.resume(&mut *store)),
        ("kill", |store, id| id.kill(&mut *store)),
    ];
    for (name, ask) in asks {
        let host = move |mut caller: Caller<'_, ()>, id: u64| {
            // It may have finished already: that depends on the policy.
            let _ = ask(&mut caller.as_context_mut(), ThreadId::from_u64(id));
        };
        linker.func_wrap("", name, host).unwrap();
    }
    let params = [a, b].map(|id| Val::I64(i64::try_from(id.as_u64()).unwrap()));
    spawn_linked(store, &linker, &module, "control", &params)
}

/// A run under fuel, whose threads are also suspended, resumed and killed in it, and
/// its trace.
fn traced_run(engine: &Engine, set: &dyn Fn(&mut Store<()>)) -> (Store<()>, String) {
    let module = Module::new(engine, GUESTS).unwrap();
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_slice(Slice::Fuel(1_000)).unwrap();
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

#[test]
fn strict_priorities_are_kept() {
    let spawn_by_priority = |store: &mut Store<()>, module: &Module| -> BTreeMap<ThreadId, i64> {
        let spawn = |priority: i32| {
            let options = ThreadOptions::new().priority(priority);
            let params = [Val::I64(3_000)];
            let id = spawn_with(store, module, "sum", &params, options);
            (id, i64::from(priority))
        };
        [0, 5, -3, 5, 2].map(spawn).into()
    };
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(Priority::strict())
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let priorities = spawn_by_priority(&mut store, &module);
    let checker = checker(Preemption::Fuel).all_finished(true);
    let checker = checker.order(Order::Priorities(priorities.clone()));
    let first = *priorities
        .iter()
        .find(|(_, priority)| **priority == 5)
        .unwrap()
        .0;

    // The most important one is suspended in the first run, and comes back.
    first.suspend(&mut store).unwrap();
    assert_eq!(
        store.run_wasm_threads_for(Duration::MAX).unwrap().end,
        RunEnd::AllSuspended
    );
    first.resume(&mut store).unwrap();
    spawn_with(&mut store, &module, "answer", &[], ThreadOptions::new());
    run_all(&mut store);
    assert_clean(&checker, &mut store, "strict");

    // Round robin is not by priority: the checker would have seen it.
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    assert_eq!(spawn_by_priority(&mut store, &module), priorities);
    run_all(&mut store);
    let trace = store.wasm_threads().take_trace().unwrap();
    assert!(!checker.check(&trace).is_ok());
}

#[test]
fn patience_bounds_the_wait_of_the_least_important() {
    const PATIENCE: u64 = 20_000;
    const THREADS: u64 = 6;
    let slice = short_ticks(Preemption::Fuel);
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(Priority::new(PATIENCE))
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    for priority in 0..THREADS as i32 {
        let options = ThreadOptions::new().priority(priority);
        spawn_with(&mut store, &module, "sum", &[Val::I64(20_000)], options);
    }
    run_all(&mut store);
    let trace = assert_clean(&checker(Preemption::Fuel), &mut store, "aging");
    let longest = Stats::of(&trace).threads[0].longest_wait;
    let bound = PATIENCE + 2 * THREADS * (slice + BETWEEN_CHECKS);
    assert!((PATIENCE..=bound).contains(&longest), "{longest}, {bound}");
}

#[test]
fn the_earliest_deadline_is_first() {
    let (mut store, module) = guests(Preemption::Fuel);
    store
        .wasm_threads()
        .set_scheduler(EarliestDeadlineFirst::new())
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let deadlines = [None, Some(400_000), Some(100_000), None, Some(200_000)];
    let ids = deadlines.map(|deadline| {
        let options = match deadline {
            Some(ticks) => ThreadOptions::new().deadline(ticks),
            None => ThreadOptions::new(),
        };
        spawn_with(&mut store, &module, "sum", &[Val::I64(3_000)], options)
    });
    run_all(&mut store);
    let trace = assert_clean(&checker(Preemption::Fuel), &mut store, "deadlines");
    let returned = trace
        .events
        .iter()
        .filter(|event| event.what == Traced::Returned);
    let order: Vec<_> = returned.map(|event| event.thread).collect();
    // Those without one come last, in turns.
    assert_eq!(order, [2, 4, 1, 0, 3].map(|n: usize| ids[n]));
}

/// Spinners under weighted fairness with a request of `REQUEST` units of fuel.
struct Spinners {
    store: Store<()>,
    ids: Vec<ThreadId>,
}

const REQUEST: u64 = 1_000;

impl Spinners {
    /// By the weight and the group of each.
    fn new(spinners: &[(u32, u64)]) -> Spinners {
        let (mut store, module) = guests(Preemption::Fuel);
        store
            .wasm_threads()
            .set_scheduler(WeightedFair::new(REQUEST))
            .unwrap();
        let spawn = |(weight, group): &(u32, u64)| {
            let options = ThreadOptions::new().weight(*weight).group(*group);
            spawn_with(&mut store, &module, "spin", &[], options)
        };
        let ids = spinners.iter().map(spawn).collect();
        Spinners { store, ids }
    }

    /// Runs for a while, and checks that each gets its share, in parts of all, to
    /// within a few requests.
    fn assert_shares(&mut self, shares: &[f64]) {
        let used = |spinners: &Spinners| -> Vec<u64> {
            let ids = spinners.ids.iter();
            ids.map(|id| stats(&spinners.store, *id).fuel_consumed)
                .collect()
        };
        let before = used(self);
        let run = self.store.run_wasm_threads_for(ms(30)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        let after = used(self);
        let got: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let all: u64 = got.iter().sum();
        assert!(all > 50 * REQUEST, "{run:?}");
        for (got, share) in got.iter().zip(shares) {
            let due = all as f64 * share;
            let off = (*got as f64 - due).abs();
            assert!(off < 5.0 * REQUEST as f64, "{got} and not {due} of {all}");
        }
    }
}

#[test]
fn fuel_is_shared_by_weight() {
    let mut spinners = Spinners::new(&[(1, 0), (2, 0), (5, 0)]);
    spinners.assert_shares(&[0.125, 0.25, 0.625]);
    spinners.assert_shares(&[0.125, 0.25, 0.625]);

    // From now on the first has as much as the others together.
    let mut params = ThreadParams::default();
    params.weight = 7;
    let id = spinners.ids[0];
    id.set_params(&mut spinners.store, params).unwrap();
    spinners.assert_shares(&[0.5, 1.0 / 7.0, 2.5 / 7.0]);

    // What a suspended one does not use is the others'.
    id.suspend(&mut spinners.store).unwrap();
    spinners.assert_shares(&[0.0, 2.0 / 7.0, 5.0 / 7.0]);
    id.resume(&mut spinners.store).unwrap();
    spinners.assert_shares(&[0.5, 1.0 / 7.0, 2.5 / 7.0]);
}

#[test]
fn fuel_is_shared_by_group_and_then_by_weight() {
    // A crowd, a couple, and one that stands for itself.
    let mut spinners = Spinners::new(&[(1, 1), (1, 1), (2, 1), (4, 1), (1, 2), (3, 2), (1, 0)]);
    let third = 1.0 / 3.0;
    let crowd = [0.125, 0.125, 0.25, 0.5];
    let [a, b, c, d] = crowd.map(|part| part * third);
    spinners.assert_shares(&[a, b, c, d, 0.25 * third, 0.75 * third, third]);

    let policy = spinners
        .store
        .wasm_threads()
        .scheduler_mut::<WeightedFair>();
    policy.unwrap().set_group_weight(1, 3);
    let [a, b, c, d] = crowd.map(|part| part * 0.6);
    spinners.assert_shares(&[a, b, c, d, 0.05, 0.15, 0.2]);

    // A group whose threads are gone leaves its share to the others.
    for id in [4, 5].map(|n: usize| spinners.ids[n]) {
        id.suspend(&mut spinners.store).unwrap();
    }
    let [a, b, c, d] = crowd.map(|part| part * 0.75);
    spinners.assert_shares(&[a, b, c, d, 0.0, 0.0, 0.25]);
}

/// What spinners of these weights get of the CPU under `Signal` with slices of 1 ms,
/// in parts of one.
fn shares_of_time(weights: &[u32], time: Duration) -> Vec<f64> {
    let (mut store, module) = guests(Preemption::Signal);
    store.wasm_threads().set_slice(Slice::Time(ms(1))).unwrap();
    store
        .wasm_threads()
        .set_scheduler(WeightedFair::new(1_000_000))
        .unwrap();
    let spawn = |weight: &u32| {
        let options = ThreadOptions::new().weight(*weight);
        spawn_with(&mut store, &module, "spin", &[], options)
    };
    let ids: Vec<_> = weights.iter().map(spawn).collect();
    assert_eq!(
        store.run_wasm_threads_for(time).unwrap().end,
        RunEnd::TimeUp
    );
    let got = ids
        .iter()
        .map(|id| stats(&store, *id).cpu_time.as_secs_f64());
    let got: Vec<f64> = got.collect();
    let all: f64 = got.iter().sum();
    got.iter().map(|got| got / all).collect()
}

/// How far shares are from what weights entitle to.
struct Unfairness {
    /// The greatest difference, in parts of all.
    off: f64,
    /// The greatest difference, in parts of what that one is entitled to.
    relative: f64,
    jain: f64,
}

impl Unfairness {
    fn of(shares: &[f64], weights: &[u32]) -> Unfairness {
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let entitled = weights.iter().map(|weight| f64::from(*weight) / all);
        let pairs = || shares.iter().zip(entitled.clone());
        let most = |differences: &mut dyn Iterator<Item = f64>| differences.fold(0.0, f64::max);
        Unfairness {
            off: most(&mut pairs().map(|(got, due)| (got - due).abs())),
            relative: most(&mut pairs().map(|(got, due)| (got / due - 1.0).abs())),
            jain: jain(pairs().map(|(got, due)| got / due)).unwrap(),
        }
    }
}

#[test]
fn time_is_shared_by_weight() {
    if Preemption::for_this_host() != Preemption::Signal {
        return;
    }
    let weights = [1, 2, 5];
    // When something else gets the CPU, its time counts for the thread that was
    // interrupted. By that shares are off near the end of a run, and the less so, the
    // longer it is.
    let mut time = ms(200);
    loop {
        let shares = shares_of_time(&weights, time);
        if Unfairness::of(&shares, &weights).off <= 0.05 {
            return;
        }
        time *= 2;
        assert!(time < HANG / 2, "{shares:?}");
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn in_a_second_shares_of_time_are_within_one_percent() {
    if Preemption::for_this_host() != Preemption::Signal {
        return;
    }
    let many: Vec<u32> = (1..=16).collect();
    for weights in [
        &[1, 1][..],
        &[1, 2, 5],
        &[3, 1, 4, 1, 5, 9, 2, 6],
        &[1, 100],
        &many,
    ] {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let shares = shares_of_time(weights, Duration::from_secs(1));
            let Unfairness {
                off,
                relative,
                jain,
            } = Unfairness::of(&shares, weights);
            println!(
                "weights {weights:?}: off by {:.3} % of all and {:.2} % of the own share at \
                 most, Jain's index {jain:.6}",
                100.0 * off,
                100.0 * relative,
            );
            best = best.min(off);
            if best <= 0.01 {
                break;
            }
        }
        assert!(best <= 0.01, "{weights:?}: {best}");
    }
}
