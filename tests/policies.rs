//! The policies of `preempt-policies` schedule real guests: each keeps its promise,
//! loses no thread, and under fuel makes the same schedule every time.

mod promises;
mod schedules;
mod shares;

use crate::support::*;
use preempt_policies::{
    EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin, Schedule,
    WeightedFair,
};
use preempt_trace::check::Checker;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

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

fn assert_clean(checker: &Checker, store: &mut Store<()>, what: &str) -> Trace {
    let trace = take_trace(store);
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
        let mut store = store_with_slice(&engine, (), Slice::Fuel(500));
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
