//! A trace tells exactly what happened to guest threads, and what is made of it
//! agrees with what the store says.

use crate::support::*;
use preempt_trace::check::{Checker, Order};
use preempt_trace::stats::Stats;
use preempt_trace::text::{self, Text};
use preempt_trace::{perfetto, timeline::Timeline};
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

fn round_robin(preemption: Preemption) -> Checker {
    checker(preemption).order(Order::RoundRobin)
}

fn assert_clean(checker: &Checker, trace: &Trace) {
    let report = checker.check(trace);
    assert!(report.is_ok(), "{report}");
}

/// What happened to `thread`, but for when.
fn of(trace: &Trace, thread: ThreadId) -> Vec<Traced> {
    let events = trace.events.iter().filter(|event| event.thread == thread);
    events.map(|event| event.what).collect()
}

/// A run under fuel whose events are always the same, in a trace of this capacity.
fn small_run(capacity: usize) -> (Store<()>, Trace) {
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_trace(capacity).unwrap();
    let options = ThreadOptions::new().name("adder");
    spawn_with(&mut store, &module, "sum", &[Val::I64(200)], options);
    let options = ThreadOptions::new().slice(Slice::Fuel(600));
    spawn_with(
        &mut store,
        &module,
        "sum_then_trap",
        &[Val::I64(90)],
        options,
    );
    run_all(&mut store);
    let trace = take_trace(&mut store);
    (store, trace)
}

#[test]
fn the_events_of_a_run_are_exactly_these() {
    let (mut store, trace) = small_run(100);
    let [a, b] = [1, 2].map(|id| stats(&store, ThreadId::from_u64(id)));
    // In all as much fuel as the two have used.
    let end = a.fuel_consumed + b.fuel_consumed;
    assert_eq!(trace.events.last().unwrap().at, end);
    assert_eq!(Text(&trace).to_string(), EXPECTED);
    assert_clean(&round_robin(Preemption::Fuel).all_finished(true), &trace);
    assert_eq!(take_trace(&mut store).events, []);
}

const EXPECTED: &str = "preempt-trace 1
clock fuel
lost 0
events 14
name 1 \"adder\"
0 1 spawned
0 2 spawned
0 0 run-started
0 1 dispatched 889
889 1 preempted
889 2 dispatched 568
1457 2 preempted
1457 1 dispatched 997
2465 1 preempted
2465 2 dispatched 527
2985 2 trapped
2985 1 dispatched 987
3493 1 returned
3493 0 run-ended
";

#[test]
fn the_latest_events_are_kept_and_the_others_counted() {
    let (_, all) = small_run(100);
    for capacity in [1, 2, 7, all.events.len() - 1, all.events.len()] {
        let (mut store, trace) = small_run(capacity);
        let lost = all.events.len() - capacity;
        assert_eq!(trace.events, all.events[lost..]);
        assert_eq!(trace.lost, lost as u64);
        assert_eq!(trace.names, all.names);
        assert_clean(&round_robin(Preemption::Fuel), &trace);
        // What was taken is not lost again.
        assert_eq!(take_trace(&mut store).lost, 0);
    }
}

for_each_preemption!(
    nothing_is_traced_before_it_is_asked_for_or_after_capacity_0,
    threads_that_are_there_when_a_trace_starts_are_in_it,
    a_trace_that_a_host_function_starts_knows_who_is_running,
    each_exit_is_told_apart,
    threads_that_host_functions_spawn_suspend_and_kill_are_traced,
    round_robin_is_clean_for_each_source,
    numbers_of_a_trace_are_those_of_the_store,
    a_trace_is_written_read_and_drawn,
);

fn nothing_is_traced_before_it_is_asked_for_or_after_capacity_0(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    assert!(store.wasm_threads().take_trace().is_none());
    spawn(&mut store, &module, "answer", &[]);
    assert!(store.wasm_threads().take_trace().is_none());
    store.wasm_threads().set_trace(10).unwrap();
    run_all(&mut store);
    store.wasm_threads().set_trace(0).unwrap();
    assert!(store.wasm_threads().take_trace().is_none());
    spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    assert!(store.wasm_threads().take_trace().is_none());
    store.wasm_threads().set_trace(10).unwrap();
    assert_eq!(take_trace(&mut store).events, []);
}

#[test]
fn more_capacity_than_there_is_memory_is_an_error() {
    let (mut store, module) = guests(Preemption::Fuel);
    for capacity in [usize::MAX, usize::MAX / size_of::<TraceEvent>(), 1 << 46] {
        let error = store.wasm_threads().set_trace(capacity).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("no memory for a trace of {capacity}")),
            "{text}"
        );
        assert!(store.wasm_threads().take_trace().is_none());
    }
    // One that is on stays as it is.
    store.wasm_threads().set_trace(10).unwrap();
    let id = spawn(&mut store, &module, "answer", &[]);
    store.wasm_threads().set_trace(usize::MAX).unwrap_err();
    run_all(&mut store);
    let trace = take_trace(&mut store);
    assert_eq!(of(&trace, id).len(), 3);
    assert_clean(&round_robin(Preemption::Fuel).all_finished(true), &trace);
}

#[test]
fn an_engine_without_preemption_has_no_trace() {
    let mut store = Store::new(&Engine::default(), ());
    let error = store.wasm_threads().set_trace(10).unwrap_err();
    assert!(error.to_string().contains("Config::preemption"), "{error}");
    assert!(store.wasm_threads().take_trace().is_none());
}

#[test]
fn names_are_those_of_threads_that_are_still_there() {
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let named = |name: &str| ThreadOptions::new().name(name);
    let mut spawn = |options| spawn_with(&mut store, &module, "answer", &[], options);
    let finished = spawn(named("twice"));
    let taken = spawn(named("taken"));
    spawn(ThreadOptions::new());
    spawn(named("detached").detached(true));
    run_all(&mut store);
    taken.take_exit(&mut store).unwrap();
    let odd = "\"\n\u{1f980}";
    let mut spawn = |options| spawn_with(&mut store, &module, "answer", &[], options);
    let live = [spawn(named("twice")), spawn(named(odd))];

    let trace = take_trace(&mut store);
    let names = [(finished, "twice"), (live[0], "twice"), (live[1], odd)];
    assert_eq!(trace.names, names.map(|(id, name)| (id, name.to_string())));
    let read = text::parse(&Text(&trace).to_string()).unwrap();
    assert_eq!(read.names, trace.names);
}

fn threads_that_are_there_when_a_trace_starts_are_in_it(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let done = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    let [ready, suspended] = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    store.run_wasm_threads_for(ms(2)).unwrap();
    suspended.suspend(&mut store).unwrap();

    store.wasm_threads().set_trace(EVENTS).unwrap();
    let begin = take_trace(&mut store);
    assert_eq!(of(&begin, done), []);
    assert_eq!(of(&begin, ready), [Traced::Spawned]);
    assert_eq!(of(&begin, suspended), [Traced::Spawned, Traced::Parked]);

    // Starting anew forgets what there was.
    store.wasm_threads().set_trace(EVENTS).unwrap();
    suspended.resume(&mut store).unwrap();
    store.run_wasm_threads_for(ms(2)).unwrap();
    ready.kill(&mut store).unwrap();
    suspended.kill(&mut store).unwrap();
    let trace = take_trace(&mut store);
    assert_eq!(of(&trace, ready)[0], Traced::Spawned);
    let first = [Traced::Spawned, Traced::Parked, Traced::Woken];
    assert_eq!(of(&trace, suspended)[..3], first);
    // Not who of them was before whom.
    let in_any_order = checker(preemption);
    let in_any_order = in_any_order.all_finished(true);
    assert_clean(&in_any_order, &trace);
}

fn a_trace_that_a_host_function_starts_knows_who_is_running(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let start = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
        caller.as_context_mut().wasm_threads().set_trace(EVENTS)
    });
    store.spawn_wasm_thread(start, &[]).unwrap();
    spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    let trace = take_trace(&mut store);
    assert_clean(&round_robin(preemption).all_finished(true), &trace);
}

#[test]
fn a_resumed_thread_is_dispatched_after_those_that_are_ready() {
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let ids = [(); 3].map(|()| spawn(&mut store, &module, "answer", &[]));
    ids[0].suspend(&mut store).unwrap();
    ids[0].resume(&mut store).unwrap();
    run_all(&mut store);
    let trace = take_trace(&mut store);
    assert_clean(&round_robin(Preemption::Fuel).all_finished(true), &trace);
}

fn each_exit_is_told_apart(preemption: Preemption) {
    let engine = Engine::new(&config_with_fuel(preemption)).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(u64::MAX).unwrap();
    store
        .wasm_threads()
        .set_slice(short_slice(preemption))
        .unwrap();
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let mut spawn = |export, options| spawn_with(&mut store, &module, export, &[], options);
    let new = ThreadOptions::new;
    let returned = spawn("answer", new());
    let trapped = spawn("trap", new());
    let overflown = spawn("overflow", new());
    let over_fuel = spawn("spin", new().fuel_limit(50_000));
    let over_time = spawn("spin", new().timeout(ms(2)));
    let over_cpu = spawn("spin", new().cpu_limit(ms(2)));
    // The second of them ends as soon as it is its turn.
    let members = [(); 2].map(|()| spawn("spin", new().group(1)));
    let killed = spawn("spin", new());
    let shut_down = spawn("spin", new());
    let group = ThreadLimits::new().fuel(50_000);
    store.wasm_threads().set_group_limits(1, group).unwrap();
    let limited = [over_fuel, over_time, over_cpu, members[0], members[1]];
    run_until(&mut store, |store| {
        limited.iter().all(|id| finished(store, *id))
    });
    killed.kill(&mut store).unwrap();
    let never_ran = spawn_with(&mut store, &module, "spin", &[], new());
    assert_eq!(store.shutdown_wasm_threads(), 2);

    let trace = take_trace(&mut store);
    assert_eq!(trace.lost, 0);
    for (id, last) in [
        (returned, Traced::Returned),
        (trapped, Traced::Trapped),
        (overflown, Traced::Trapped),
        (over_fuel, Traced::OverLimit),
        (over_time, Traced::OverLimit),
        (over_cpu, Traced::OverLimit),
        (members[0], Traced::OverLimit),
        (members[1], Traced::OverLimit),
        (killed, Traced::Killed),
        (shut_down, Traced::Killed),
    ] {
        assert_eq!(of(&trace, id).last(), Some(&last), "{preemption}, {id}");
    }
    assert_eq!(of(&trace, never_ran), [Traced::Spawned, Traced::Killed]);
    assert_clean(&round_robin(preemption).all_finished(true), &trace);
}

fn threads_that_host_functions_spawn_suspend_and_kill_are_traced(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let [victim, parked] = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        let mut store = caller.as_context_mut();
        let instance = Instance::new(&mut store, &module, &[])?;
        let answer = instance.get_func(&mut store, "answer").unwrap();
        store.spawn_wasm_thread(answer, &[])?;
        parked.suspend(&mut store)?;
        victim.kill(&mut store)
    });
    let caller = store.spawn_wasm_thread(host, &[]).unwrap();
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllSuspended, 3));

    let trace = take_trace(&mut store);
    assert_eq!(of(&trace, caller).last(), Some(&Traced::Returned));
    assert_eq!(of(&trace, victim).last(), Some(&Traced::Killed));
    assert_eq!(of(&trace, parked).last(), Some(&Traced::Parked));
    let spawned = ThreadId::from_u64(4);
    let events = of(&trace, spawned);
    assert!(matches!(
        events[..],
        [Traced::Spawned, Traced::Dispatched { .. }, Traced::Returned]
    ));
    assert_clean(&round_robin(preemption), &trace);
}

#[test]
fn a_trace_that_is_taken_between_two_runs_goes_on() {
    fn run(take_between: bool) -> Trace {
        let (mut store, module) = guests(Preemption::Fuel);
        store.wasm_threads().set_trace(EVENTS).unwrap();
        let a = spawn(&mut store, &module, "sum", &[Val::I64(3_000)]);
        let b = spawn(&mut store, &module, "sum", &[Val::I64(2_000)]);
        a.suspend(&mut store).unwrap();
        let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
        assert_eq!(run.end, RunEnd::AllSuspended);
        let mut events = Vec::new();
        if take_between {
            events = take_trace(&mut store).events;
            assert!(of(&take_trace(&mut store), b).is_empty());
        }
        a.resume(&mut store).unwrap();
        run_all(&mut store);
        let rest = take_trace(&mut store);
        events.extend(&rest.events);
        Trace { events, ..rest }
    }
    let whole = run(false);
    assert_clean(&round_robin(Preemption::Fuel).all_finished(true), &whole);
    assert_eq!(run(true).events, whole.events);
}

fn round_robin_is_clean_for_each_source(preemption: Preemption) {
    until_preempted(20, || {
        let (mut store, module) = guests(preemption);
        store.wasm_threads().set_trace(EVENTS).unwrap();
        let turns = match preemption {
            Preemption::Fuel => 20_000,
            _ => 2_000_000,
        };
        for n in 0..4 {
            spawn(&mut store, &module, "sum", &[Val::I64(turns + n)]);
        }
        spawn(&mut store, &module, "trap", &[]);
        // In pieces, beside some that are there for a while only.
        for _ in 0..3 {
            store.run_wasm_threads_for(ms(1)).unwrap();
            let id = spawn(&mut store, &module, "spin", &[]);
            store.run_wasm_threads_for(ms(1)).unwrap();
            id.suspend(&mut store).unwrap();
            store.run_wasm_threads_for(ms(1)).unwrap();
            id.resume(&mut store).unwrap();
            store.run_wasm_threads_for(ms(1)).unwrap();
            id.kill(&mut store).unwrap();
        }
        run_all(&mut store);
        let trace = take_trace(&mut store);
        assert_eq!(
            (trace.lost, trace.fuel),
            (0, preemption == Preemption::Fuel)
        );
        assert_clean(&round_robin(preemption).all_finished(true), &trace);
        let preempted = trace.events.iter().filter(|e| e.what == Traced::Preempted);
        preempted.count() as u64
    });
}

fn numbers_of_a_trace_are_those_of_the_store(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    let turns = match preemption {
        Preemption::Fuel => 20_000,
        _ => 3_000_000,
    };
    for n in 0..3 {
        spawn(&mut store, &module, "sum", &[Val::I64(turns * (n + 1))]);
    }
    let run = run_all(&mut store);
    let traced = Stats::of(&take_trace(&mut store));
    assert_eq!(traced.slices.len(), run.dispatches);
    assert_eq!(traced.threads.len(), 3);
    for thread in &traced.threads {
        let stats = stats(&store, thread.thread);
        assert_eq!(thread.slices, stats.dispatches);
        assert_eq!(thread.preemptions, stats.preemptions);
        assert_eq!(thread.exit, Some(Traced::Returned));
        if preemption == Preemption::Fuel {
            assert_eq!(thread.cpu, stats.fuel_consumed);
        } else {
            assert_eq!(u128::from(thread.cpu), stats.cpu_time.as_nanos());
            assert_eq!(u128::from(thread.waiting), stats.ready_time.as_nanos());
            assert_eq!(
                u128::from(thread.longest_wait),
                stats.longest_wait.as_nanos()
            );
        }
    }
}

fn a_trace_is_written_read_and_drawn(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    store.wasm_threads().set_trace(EVENTS).unwrap();
    for name in ["reader", "writer"] {
        let options = ThreadOptions::new().name(name);
        let params = [Val::I64(some_turns(preemption).into())];
        spawn_with(&mut store, &module, "sum", &params, options);
    }
    run_all(&mut store);
    let trace = take_trace(&mut store);

    let written = Text(&trace).to_string();
    let read = text::parse(&written).unwrap();
    assert_eq!(
        (&read.events, read.lost, read.fuel),
        (&trace.events, 0, trace.fuel)
    );
    assert_eq!(Text(&read).to_string(), written);

    let mut json = Vec::new();
    perfetto::write(&trace, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    let svg = Timeline::new().svg(&trace);
    for drawn in [json, svg] {
        assert!(
            drawn.contains("reader") && drawn.contains("writer"),
            "{drawn}"
        );
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn an_event_is_recorded_in_nanoseconds() {
    const TURNS: i64 = 100_000;
    let (mut store, module) = guests(Preemption::Fuel);
    store.wasm_threads().set_slice(Slice::Fuel(1)).unwrap();
    let mut run = |capacity| {
        store.wasm_threads().set_trace(capacity).unwrap();
        let ids = [(); 2].map(|()| spawn(&mut store, &module, "sum", &[Val::I64(TURNS)]));
        let start = Instant::now();
        let dispatches = run_all(&mut store).dispatches;
        let time = start.elapsed();
        for id in ids {
            returned(&mut store, id);
        }
        let trace = store.wasm_threads().take_trace();
        let events = trace.map_or(0, |trace| trace.events.len() as u64 + trace.lost);
        (time.as_nanos() as f64, events, dispatches)
    };
    let mut per_event: Vec<f64> = Vec::new();
    let mut per_dispatch: Vec<f64> = Vec::new();
    for _ in 0..40 {
        let (without, _, dispatches) = run(0);
        let (with, events, _) = run(1 << 16);
        per_event.push((with - without) / events as f64);
        per_dispatch.push(without / dispatches as f64);
    }
    let median = |numbers: &mut Vec<f64>| {
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    let (event, dispatch) = (median(&mut per_event), median(&mut per_dispatch));
    println!("{event:.1} ns for each event; {dispatch:.0} ns for each dispatch without a trace");
    // The aim is 30 ns. More than that is for a busy machine.
    assert!(event < 100.0);
}
