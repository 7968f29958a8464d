//! Random modules do the same as guest threads under the shortest slices as they
//! do uninterrupted: the same results or traps, memory, globals and fuel.

use crate::support::*;
use arbitrary::Unstructured;
use preempt_fuzzing::modules::Shape;
use proptest::prelude::*;
use wasmtime::*;

/// How many calls and turns of loops a module may make in all.
const TURNS: u32 = 300;

/// A module that imports nothing, exports everything, and ends.
fn module(seed: &[u8]) -> Option<Vec<u8>> {
    let kind = seed[0];
    let shape = Shape {
        imports: 0,
        gc: false,
        exceptions: kind.is_multiple_of(3),
        no_traps: kind.is_multiple_of(2),
        steps: TURNS,
    };
    shape.module(&mut Unstructured::new(seed))
}

/// What became of a call.
#[derive(Debug, PartialEq)]
struct Outcome {
    result: Result<Vec<u128>, Option<Trap>>,
    /// Not of a call that overflowed its stack or trapped in the middle of a
    /// straight line: compiled code has not written back its count there.
    fuel: Option<u64>,
    state: u64,
}

fn outcome(
    store: &mut Store<StoreLimits>,
    instance: Instance,
    result: Result<Vec<Val>>,
    fuel: Option<u64>,
) -> Outcome {
    let result = match result {
        Ok(values) => Ok(bits(&values)),
        Err(error) => Err(error.downcast_ref::<Trap>().copied()),
    };
    let exact = match &result {
        Ok(_) => true,
        Err(trap) => matches!(
            trap,
            Some(Trap::UnreachableCodeReached) | Some(Trap::OutOfFuel)
        ),
    };
    Outcome {
        result,
        fuel: fuel.filter(|_| exact),
        state: state(store, instance),
    }
}

/// A call: the function's name, and its arguments.
type Call = (String, Vec<Val>);

/// The calls that can be made of a module, and what becomes of them if each is a
/// plain call in a store of its own.
fn plain(wasm: &[u8]) -> Result<Vec<(Call, Outcome)>> {
    let mut config = crate::support::plain_config();
    config.consume_fuel(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, wasm)?;
    let mut outcomes = Vec::new();
    for export in module.exports() {
        let ExternType::Func(ty) = export.ty() else {
            continue;
        };
        let seeds = outcomes.len() as u64..;
        let arguments = ty.params().zip(seeds).map(|(ty, seed)| argument(&ty, seed));
        let Some(arguments) = arguments.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut store = limited_store(&engine);
        store.set_fuel(u64::MAX)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let func = instance.get_func(&mut store, export.name()).unwrap();
        let before = store.get_fuel()?;
        let mut results = vec![Val::I32(0); ty.results().len()];
        let result = func.call(&mut store, &arguments, &mut results);
        let fuel = before - store.get_fuel()?;
        let result = result.map(|()| results);
        let outcome = outcome(&mut store, instance, result, Some(fuel));
        outcomes.push(((export.name().to_owned(), arguments), outcome));
    }
    Ok(outcomes)
}

/// The same calls as guest threads side by side, in order or the other way round.
fn threads(
    engine: &Engine,
    module: &Module,
    calls: &[(Call, Outcome)],
    slice: Slice,
    reverse: bool,
) -> Result<u64> {
    let mut store = limited_store(engine);
    store.wasm_threads().set_slice(slice)?;
    let mut calls: Vec<_> = calls.iter().chain(calls).collect();
    if reverse {
        calls.reverse();
    }
    let mut threads = Vec::new();
    for ((export, arguments), expected) in calls {
        let instance = Instance::new(&mut store, module, &[])?;
        let id = spawn_in(&mut store, instance, export, arguments);
        threads.push((instance, id, export, expected));
    }
    let run = run_all(&mut store);
    for (instance, id, export, expected) in threads {
        let fuel = stats(&store, id).fuel_consumed;
        let result = match id.take_exit(&mut store) {
            Some(Exit::Returned(values)) => Ok(values),
            Some(Exit::Trapped(error)) => Err(error),
            other => panic!("{other:?}"),
        };
        let fuel = matches!(slice, Slice::Fuel(_)).then_some(fuel);
        let found = outcome(&mut store, instance, result, fuel);
        let expected = Outcome {
            result: expected.result.clone(),
            fuel: expected.fuel.filter(|_| fuel.is_some()),
            state: expected.state,
        };
        assert_eq!(found, expected, "{export} with slices of {slice}");
    }
    Ok(run.preemptions)
}

/// What the modules that a seed makes were good for.
#[derive(Default)]
struct Tally {
    calls: usize,
    calls_under_signals: usize,
    preemptions: u64,
}

fn check(seed: &[u8], tally: &mut Tally) {
    for preemption in sources() {
        let Some(wasm) = module(seed) else {
            continue;
        };
        // Instantiating it may trap.
        let Ok(calls) = plain(&wasm) else {
            continue;
        };
        match preemption {
            Preemption::Signal => tally.calls_under_signals += calls.len(),
            _ => tally.calls += calls.len(),
        }
        let engine = engine(preemption);
        let module = Module::new(&engine, &wasm).unwrap();
        let slices = match preemption {
            Preemption::Fuel => [1, 3, 50].map(Slice::Fuel).to_vec(),
            _ => vec![shortest_slice(preemption)],
        };
        for slice in slices {
            for reverse in [false, true] {
                tally.preemptions += threads(&engine, &module, &calls, slice, reverse).unwrap();
            }
        }
    }
}

fn check_random_modules(cases: u32) -> Tally {
    let mut tally = Tally::default();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    };
    let seeds = prop::collection::vec(any::<u8>(), 1_000..4_000);
    let counted = std::cell::RefCell::new(&mut tally);
    proptest::test_runner::TestRunner::new(config)
        .run(&seeds, |seed| {
            check(&seed, &mut counted.borrow_mut());
            Ok(())
        })
        .unwrap();
    tally
}

#[test]
fn random_modules_do_the_same_in_slices() {
    let tally = check_random_modules(100);
    assert!(tally.calls > 60, "{}", tally.calls);
    assert!(tally.preemptions > 10_000, "{}", tally.preemptions);
    if sources().contains(&Preemption::Signal) {
        let calls = tally.calls_under_signals;
        assert!(calls > 30, "{calls}");
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn many_random_modules_do_the_same_in_slices() {
    let tally = check_random_modules(2_000);
    assert!(tally.preemptions > 100_000, "{}", tally.preemptions);
}
