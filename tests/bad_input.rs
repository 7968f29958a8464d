//! Bad input is an error which names the value and the way out, and changes
//! nothing.

use crate::support::*;
use std::time::Duration;
use wasmtime::*;

/// Fails unless `error` says all of `words`.
#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let error = format!("{:#}", result.unwrap_err());
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

for_each_preemption!(
    an_engine_without_preemption_is_refused,
    wrong_arguments_are_refused,
    things_of_another_store_are_refused,
    slices_that_cannot_end_are_refused,
    slices_of_the_other_kind_are_refused,
    running_inside_a_run_is_refused,
    unknown_and_finished_threads_have_no_slices,
    more_threads_than_the_limit_are_refused,
    contradictory_configurations_are_refused,
    a_run_of_no_time_runs_nothing,
    an_epoch_deadline_that_was_never_set_is_named,
    more_instances_than_a_store_has_by_default_need_a_limiter,
    types_of_the_garbage_collected_heap_can_be_made,
    stack_switching_is_refused,
);
for_each_preemption!(
    data_of_another_store_is_refused,
    a_dead_reference_is_refused
);

fn an_engine_without_preemption_is_refused(preemption: Preemption) {
    let mut store = Store::<()>::default();
    let func = Func::wrap(&mut store, || {});
    let words = [
        "Config::preemption",
        "Preemption::Fuel",
        "Preemption::Epoch",
    ];
    assert_says(store.spawn_wasm_thread(func, &[]), &words);
    let typed = func.typed::<(), ()>(&store).unwrap();
    assert_says(
        ThreadOptions::new().spawn_typed(&mut store, &typed, ()),
        &words,
    );
    assert_says(store.run_wasm_threads_for(ms(1)), &words);
    assert_says(
        store.wasm_threads().set_slice(short_slice(preemption)),
        &words,
    );
    assert_says(store.wasm_threads().set_max_threads(5), &words);
    func.call(&mut store, &[], &mut []).unwrap();
}

fn wrong_arguments_are_refused(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    let func = Func::wrap(&mut store, |_: i32, _: f64| {});
    let f64 = Val::F64(0);
    assert_says(
        store.spawn_wasm_thread(func, &[Val::I32(1)]),
        &["expected 2 arguments, got 1"],
    );
    assert_says(
        store.spawn_wasm_thread(func, &[Val::I32(1), f64, f64]),
        &["expected 2 arguments, got 3"],
    );
    assert_says(
        store.spawn_wasm_thread(func, &[f64, f64]),
        &["argument 0", "i32", "f64"],
    );
    assert_says(
        store.spawn_wasm_thread(func, &[Val::I32(1), Val::I64(2)]),
        &["argument 1", "f64", "i64"],
    );
    assert_says(
        store.spawn_wasm_thread(func, &[Val::I32(1), Val::FuncRef(None)]),
        &["argument 1", "f64"],
    );
    assert_eq!(store.wasm_threads().iter().count(), 0);
    assert_eq!(store.run_wasm_threads_for(ms(1)).unwrap().dispatches, 0);
}

fn things_of_another_store_are_refused(preemption: Preemption) {
    let engine = engine(preemption);
    let mut store = Store::new(&engine, ());
    let mut other = Store::new(&engine, ());
    let foreign = Func::wrap(&mut other, || {});
    let words = ["another store", "runs in the store that owns its function"];
    assert_says(store.spawn_wasm_thread(foreign, &[]), &words);
    let typed = foreign.typed::<(), ()>(&other).unwrap();
    assert_says(
        ThreadOptions::new().spawn_typed(&mut store, &typed, ()),
        &words,
    );

    let takes_func = Func::wrap(&mut store, |_: Option<Func>| {});
    assert_says(
        store.spawn_wasm_thread(takes_func, &[Val::FuncRef(Some(foreign))]),
        &["argument 0", "store"],
    );
    let typed = takes_func.typed::<Option<Func>, ()>(&store).unwrap();
    assert_says(
        ThreadOptions::new().spawn_typed(&mut store, &typed, Some(foreign)),
        &["cross-`Store` value", "argument"],
    );
    assert_eq!(store.wasm_threads().iter().count(), 0);
    assert_eq!(other.wasm_threads().iter().count(), 0);
}

fn data_of_another_store_is_refused(preemption: Preemption) {
    let engine = engine(preemption);
    let mut store = Store::new(&engine, ());
    let mut other = Store::new(&engine, ());
    let takes_data = Func::wrap(&mut store, |_: Option<Rooted<ExternRef>>| {});
    let data = ExternRef::new(&mut other, 1).unwrap();
    assert_says(
        store.spawn_wasm_thread(takes_data, &[Val::ExternRef(Some(data))]),
        &["argument 0", "store"],
    );
    let typed = takes_data
        .typed::<Option<Rooted<ExternRef>>, ()>(&store)
        .unwrap();
    assert_says(
        ThreadOptions::new().spawn_typed(&mut store, &typed, Some(data)),
        &["cross-`Store` value", "argument"],
    );
    assert_eq!(store.wasm_threads().iter().count(), 0);
    assert_eq!(other.wasm_threads().iter().count(), 0);
}

/// Slices that cannot end, or never would.
fn impossible_slices(preemption: Preemption) -> Vec<(Slice, [&'static str; 2])> {
    let shortest = match preemption {
        Preemption::Signal => "at least 50µs",
        _ => "at least 1 ns",
    };
    match preemption {
        Preemption::Fuel => vec![
            (Slice::Fuel(0), ["0 units", "at least 1"]),
            (
                Slice::Fuel(1 << 63),
                ["9223372036854775808", "at most 9223372036854775807"],
            ),
            (Slice::Fuel(u64::MAX), ["18446744073709551615", "at most"]),
        ],
        _ => vec![
            (Slice::Time(Duration::ZERO), ["0ns", shortest]),
            (
                Slice::Time(Duration::from_nanos(1 << 63)),
                ["9223372036.854775808s", "at most 9223372036.854775807s"],
            ),
            (
                Slice::Time(Duration::MAX),
                ["18446744073709551615", "at most"],
            ),
        ],
    }
}

fn slices_that_cannot_end_are_refused(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    let func = Func::wrap(&mut store, || {});
    let typed = func.typed::<(), ()>(&store).unwrap();
    for (slice, words) in impossible_slices(preemption) {
        assert_says(store.wasm_threads().set_slice(slice), &words);
        assert_says(id.set_slice(&mut store, slice), &words);
        let options = ThreadOptions::new().slice(slice);
        assert_says(options.clone().spawn(&mut store, func, &[]), &words);
        assert_says(options.spawn_typed(&mut store, &typed, ()), &words);
    }
    let threads: Vec<_> = store.wasm_threads().iter().collect();
    assert_eq!(threads.len(), 1);
    assert_eq!(threads[0].slice, short_slice(preemption));
}

fn slices_of_the_other_kind_are_refused(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    let own = format!("Preemption::{preemption:?}");
    let (slice, words) = match preemption {
        Preemption::Fuel => (
            Slice::Time(ms(5)),
            ["5ms", own.as_str(), "Slice::Fuel", "Preemption::Epoch"],
        ),
        _ => (
            Slice::Fuel(5),
            ["5 units", own.as_str(), "Slice::Time", "Preemption::Fuel"],
        ),
    };
    assert_says(store.wasm_threads().set_slice(slice), &words);
    assert_says(id.set_slice(&mut store, slice), &words);
    let func = Func::wrap(&mut store, || {});
    let options = ThreadOptions::new().slice(slice);
    assert_says(options.spawn(&mut store, func, &[]), &words);
    assert_eq!(id.info(&store).unwrap().slice, short_slice(preemption));
    assert_eq!(store.wasm_threads().iter().count(), 1);
}

fn running_inside_a_run_is_refused(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
        let mut store = caller.as_context_mut();
        let words = ["are being run already", "can spawn threads"];
        assert_says(store.run_wasm_threads_for(ms(1)), &words);
        assert_says(store.run_wasm_threads_for(Duration::ZERO), &words);
        assert_says(store.shutdown_wasm_threads(), &words);
    });
    let id = store.spawn_wasm_thread(host, &[]).unwrap();
    run_all(&mut store);
    returned(&mut store, id);
}

fn unknown_and_finished_threads_have_no_slices(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let id = spawn(&mut store, &module, "answer", &[]);
    let slice = shortest_slice(preemption);
    id.set_slice(&mut store, slice).unwrap();
    run_all(&mut store);
    assert_says(
        id.set_slice(&mut store, slice),
        &["guest thread 1 has finished"],
    );
    returned(&mut store, id);
    assert_says(
        id.set_slice(&mut store, slice),
        &["no guest thread 1", "never spawned", "taken"],
    );
}

fn more_threads_than_the_limit_are_refused(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    let func = stateless(&mut store)
        .get_func(&mut store, "answer")
        .unwrap();
    store.wasm_threads().set_max_threads(3).unwrap();
    let ids = [(); 3].map(|()| store.spawn_wasm_thread(func, &[]).unwrap());
    let words = ["3 already", "limit", "detached", "set_max_threads"];
    assert_says(store.spawn_wasm_thread(func, &[]), &words);
    // Those whose exits were not taken count, too.
    run_all(&mut store);
    assert_says(store.spawn_wasm_thread(func, &[]), &words);
    returned(&mut store, ids[0]);
    store.spawn_wasm_thread(func, &[]).unwrap();
    assert_says(store.spawn_wasm_thread(func, &[]), &words);
    assert_eq!(store.wasm_threads().iter().count(), 3);
    store.wasm_threads().set_max_threads(0).unwrap();
    assert_says(store.spawn_wasm_thread(func, &[]), &["limit"]);
    store.wasm_threads().set_max_threads(100).unwrap();
    store.spawn_wasm_thread(func, &[]).unwrap();
    assert_eq!(run_all(&mut store).finished, 2);
}

fn contradictory_configurations_are_refused(preemption: Preemption) {
    let mut config = config(preemption);
    config.async_stack_size(512 << 10);
    let words = ["async_stack_size", "524288", "max_wasm_stack"];
    assert_says(Engine::new(&config).map(drop), &words);
    config.max_wasm_stack(256 << 10);
    Engine::new(&config).unwrap();
    match preemption {
        Preemption::Fuel => {
            config.consume_fuel(false);
            assert_says(
                Engine::new(&config).map(drop),
                &["Preemption::Fuel", "consume_fuel(false)"],
            );
        }
        Preemption::Signal => {
            config.strategy(Strategy::Winch);
            assert_says(
                Engine::new(&config).map(drop),
                &["Preemption::Signal", "Winch"],
            );
        }
        _ => {
            config.epoch_interruption(false);
            assert_says(
                Engine::new(&config).map(drop),
                &["Preemption::Epoch", "epoch_interruption(false)"],
            );
        }
    }
}

fn a_run_of_no_time_runs_nothing(preemption: Preemption) {
    let (mut store, module) = guests(preemption);
    let run = store.run_wasm_threads_for(Duration::ZERO).unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::AllFinished, 0));
    let id = spawn(&mut store, &module, "answer", &[]);
    let run = store.run_wasm_threads_for(Duration::ZERO).unwrap();
    assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
    let stats = stats(&store, id);
    assert_eq!((stats.dispatches, stats.cpu_time), (0, Duration::ZERO));
    // And all the time there is does not overflow.
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 1));
}

fn an_epoch_deadline_that_was_never_set_is_named(preemption: Preemption) {
    let mut config = config(preemption);
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = Store::new(&engine, ());
    let words = ["Store::set_epoch_deadline", "Config::epoch_interruption"];
    let id = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    let error = trapped(&mut store, id);
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    assert_says(Err::<(), _>(error), &words);
    // One that was set and has been reached is as clear as ever.
    store.set_epoch_deadline(1);
    let id = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, id)), [42]);
    engine.increment_epoch();
    let id = spawn(&mut store, &module, "answer", &[]);
    run_all(&mut store);
    let error = trapped(&mut store, id);
    assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    assert!(!format!("{error:#}").contains("set_epoch_deadline"));
}

fn more_instances_than_a_store_has_by_default_need_a_limiter(preemption: Preemption) {
    let engine = engine(preemption);
    let module = Module::new(&engine, "(module)").unwrap();
    let mut store = Store::new(&engine, StoreLimits::default());
    for _ in 0..10_000 {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    let words = [
        "instance count",
        "10001",
        "10000",
        "Store::limiter",
        "StoreLimits",
    ];
    assert_says(Instance::new(&mut store, &module, &[]), &words);
    *store.data_mut() = StoreLimitsBuilder::new().instances(10_001).build();
    store.limiter(|limits| limits);
    Instance::new(&mut store, &module, &[]).unwrap();
    let words = ["instance count", "10002", "10001"];
    assert_says(Instance::new(&mut store, &module, &[]), &words);
}

fn stack_switching_is_refused(preemption: Preemption) {
    let mut config = config(preemption);
    config.wasm_stack_switching(true);
    let name = format!("{preemption}");
    assert_says(
        Engine::new(&config).map(drop),
        &[&name, "stack switching", "wasm_stack_switching"],
    );
}

fn types_of_the_garbage_collected_heap_can_be_made(preemption: Preemption) {
    let engine = engine(preemption);
    let field = || FieldType::new(Mutability::Const, StorageType::I8);
    let array = |supertype| {
        ArrayType::with_finality_and_supertype(&engine, Finality::Final, supertype, field())
    };
    let types = [
        ("StructType", StructType::new(&engine, [field()]).map(drop)),
        ("ArrayType", array(None).map(drop)),
        ("ExnType", ExnType::new(&engine, [ValType::I32]).map(drop)),
    ];
    for (_, made) in types {
        made.unwrap();
    }
}

fn a_dead_reference_is_refused(preemption: Preemption) {
    let mut store = Store::new(&engine(preemption), ());
    let func = Func::wrap(&mut store, |_: Option<Rooted<ExternRef>>| {});
    let dead = {
        let mut scope = RootScope::new(&mut store);
        ExternRef::new(&mut scope, 1).unwrap()
    };
    let spawned = store.spawn_wasm_thread(func, &[Val::ExternRef(Some(dead))]);
    assert_says(spawned, &["argument 0"]);
    let typed = func.typed::<Option<Rooted<ExternRef>>, ()>(&store).unwrap();
    assert_says(
        ThreadOptions::new().spawn_typed(&mut store, &typed, Some(dead)),
        &["root"],
    );
    assert_eq!(store.wasm_threads().iter().count(), 0);
}

#[test]
fn code_of_an_engine_without_preemption_is_refused() {
    // Guests that nothing could preempt never get in.
    let plain = Engine::default();
    let code = plain
        .precompile_module(b"(module (func (loop br 0)))")
        .unwrap();
    // SAFETY: `code` is what `precompile_module` has just made.
    let load = |engine: &Engine| unsafe { Module::deserialize(engine, &code).map(drop) };
    load(&plain).unwrap();
    assert_says(load(&engine(Preemption::Fuel)), &["fuel"]);
    assert_says(load(&engine(Preemption::Epoch)), &["epoch"]);
}
