//! Slices of fuel are not in step with a guest.

use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// One takes a lock, looks, and gives it back, all the time, until the other one, which needs the
/// lock for that, has let it go. The lock is held in nearly all of a turn.
const LOCKERS: &str = r#"(module
    (import "" "memory" (memory 1 1 shared))
    (func $lock
        (loop
            (br_if 0 (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)))))
    (func $unlock (i32.atomic.store (i32.const 0) (i32.const 0)))
    (func $nothing)
    (func (export "polls") (local i32)
        (loop $again
            (call $lock)
            (local.set 0 (i32.load (i32.const 8)))
            (call $nothing) (call $nothing) (call $nothing) (call $nothing)
            (call $unlock)
            (br_if $again (i32.eqz (local.get 0)))))
    (func (export "ends") (call $lock) (i32.store (i32.const 8) (i32.const 1)) (call $unlock)))"#;

fn lockers(slice: u64, scheduler: impl FnOnce(&mut Store<()>)) -> RunEnd {
    let engine = Engine::new(&config_with_shared_memory(Preemption::Fuel)).unwrap();
    let module = Module::new(&engine, LOCKERS).unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let mut linker = Linker::new(&engine);
    let mut store = Store::new(&engine, ());
    linker.define(&mut store, "", "memory", memory).unwrap();
    store.wasm_threads().set_slice(Slice::Fuel(slice)).unwrap();
    scheduler(&mut store);
    for export in ["polls", "ends"] {
        spawn_linked(&mut store, &linker, &module, export, &[]);
    }
    // A limit, so that this ends whatever the machine: 100 million units.
    let ids: Vec<_> = store
        .wasm_threads()
        .iter()
        .map(|thread| thread.id)
        .collect();
    for id in &ids {
        let limits = ThreadLimits::new().fuel(100_000_000);
        id.set_limits(&mut store, limits).unwrap();
    }
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    for id in ids {
        returned(&mut store, id);
    }
    run.end
}

#[test]
fn who_polls_under_a_lock_lets_others_have_it() {
    for slice in (20..400).chain([997, 1_000, 5_000, 65_536, 10_000_000]) {
        assert_eq!(lockers(slice, |_| {}), RunEnd::AllFinished, "{slice}");
    }
}

#[test]
fn policies_with_slices_of_their_own_are_not_in_step_either() {
    for slice in (20..400).step_by(7).chain([997, 1_000, 5_000, 65_536]) {
        let end = lockers(slice, |store| {
            let fair = wasmtime_preempt::policies::WeightedFair::new(slice);
            store.wasm_threads().set_scheduler(fair).unwrap();
        });
        assert_eq!(end, RunEnd::AllFinished, "{slice}");
    }
}

#[test]
fn a_seed_decides_by_how_much_slices_differ() {
    let engine = engine(Preemption::Fuel);
    let module = Module::new(&engine, GUESTS).unwrap();
    let slices = |seed: Option<u64>| {
        let mut store = store_with_slice(&engine, (), Slice::Fuel(1_000));
        if let Some(seed) = seed {
            store.wasm_threads().set_slice_seed(seed).unwrap();
        }
        store.wasm_threads().set_trace(10_000).unwrap();
        for _ in 0..2 {
            spawn(&mut store, &module, "sum", &[Val::I64(2_000)]);
        }
        run_all(&mut store);
        let trace = store.wasm_threads().take_trace().unwrap();
        let slice = |event: &TraceEvent| match event.what {
            Traced::Dispatched { slice } => Some(slice),
            _ => None,
        };
        trace.events.iter().filter_map(slice).collect::<Vec<u64>>()
    };
    let first = slices(None);
    assert!(first.len() > 20, "{first:?}");
    assert!(first.iter().all(|slice| (875..=1_000).contains(slice)));
    assert!(first.windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(first, slices(None));
    assert_eq!(first, slices(Some(0)));
    assert_ne!(first, slices(Some(1)));
    assert_eq!(slices(Some(1)), slices(Some(1)));
}
