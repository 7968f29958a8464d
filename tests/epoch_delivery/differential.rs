//! Random modules with references, exceptions, vectors, and tables and memories that grow do the
//! same when they are interrupted all the time.

use super::support::*;
use crate::support::{
    Random, arguments, bits, limited_store, module_with_references, must_end, state,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime_preempt::wasmtime::{
    Collector, Engine, EpochDelivery, ExternType, Instance, Module, Trap, UpdateDeadline, Val,
};

/// A result or trap, and a hash of what the instance exports.
type Outcome = (std::result::Result<Vec<u128>, Option<Trap>>, u64);

/// Calls an export in a store of its own. `interrupted` counts how often it is interrupted, if it
/// is to be.
fn call(
    engine: &Engine,
    module: &Module,
    export: &str,
    arguments: &[Val],
    interrupted: Option<&Arc<AtomicU64>>,
) -> Outcome {
    let mut store = limited_store(engine);
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    if let Some(interrupted) = interrupted.cloned() {
        store.epoch_deadline_callback(move |_| {
            interrupted.fetch_add(1, Relaxed);
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
    }
    let func = instance.get_func(&mut store, export).unwrap();
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    let result = match func.call(&mut store, arguments, &mut results) {
        Ok(()) => Ok(bits(&results)),
        Err(error) => Err(error.downcast_ref::<Trap>().copied()),
    };
    store.set_epoch_deadline(u64::MAX / 2);
    let state = state(&mut store, instance);
    (result, state)
}

/// Compares until guests have been interrupted this often.
fn compare(collector: Collector, interruptions: u64) {
    let mut config = config(EpochDelivery::Signal);
    config.collector(collector).wasm_exceptions(true);
    let engine = Engine::new(&config).unwrap();
    let interrupted = Arc::new(AtomicU64::new(0));
    let (mut calls, mut returned) = (0, 0);
    let mut random = Random::new(1);
    let _ticker = Ticker::new(&engine, micros(50));
    while interrupted.load(Relaxed) < interruptions {
        let Some(wasm) = module_with_references(&mut random) else {
            continue;
        };
        let module = Module::new(&engine, &wasm).unwrap();
        let mut store = limited_store(&engine);
        store.set_epoch_deadline(u64::MAX / 2);
        if Instance::new(&mut store, &module, &[]).is_err() {
            continue;
        }
        for export in module.exports() {
            let ExternType::Func(ty) = export.ty() else {
                continue;
            };
            let Some(arguments) = arguments(&ty, &mut random) else {
                continue;
            };
            let name = export.name();
            let expected = call(&engine, &module, name, &arguments, None);
            for _ in 0..5 {
                let found = call(&engine, &module, name, &arguments, Some(&interrupted));
                assert_eq!(found, expected, "{collector:?}: {name}");
            }
            calls += 1;
            returned += usize::from(expected.0.is_ok());
        }
    }
    println!("- {collector:?}: {calls} different calls, of which {returned} returned");
    assert!(returned * 4 > calls, "{returned} of {calls}");
}

const COLLECTORS: [Collector; 2] = [Collector::Null, Collector::Copying];

#[test]
fn random_modules_do_the_same_when_interrupted() {
    must_end(|| COLLECTORS.map(|collector| compare(collector, 200)));
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn random_modules_do_the_same_when_interrupted_100_000_times() {
    for collector in COLLECTORS {
        compare(collector, 50_000);
    }
}
