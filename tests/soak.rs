//! Long runs: after millions of preemptions, threads and dispatches nothing is wrong, and nothing
//! is left.

use crate::support::*;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

macro_rules! workload {
    ($file:literal, $result:literal) => {
        (
            include_bytes!(concat!("../fixtures/workloads/", $file)).as_slice(),
            $result,
        )
    };
}

/// Guests that compute, and what they return: what the same computation comes to outside of
/// WebAssembly.
const WORKLOADS: [(&[u8], i64); 14] = [
    workload!("branchy.wat", 563_004_510_718),
    workload!("nested.wat", 96_559_776_649_472),
    workload!("calls.wat", 1_072_058_943_861_162),
    workload!("indirect.wat", 2_316_733_365_625_787),
    workload!("scan.wat", 2_037_082_888_239_014_063),
    workload!("sieve.wat", 838_596_693_108),
    workload!("simd.wat", -4_528_754_723_600_794_037),
    workload!("sort.wasm", 3_056_337_776_837_535_181),
    workload!("hash.wasm", 2_653_018_186_062_486_801),
    workload!("nbody.wasm", -5_473_084_204_566_355_530),
    workload!("interp.wasm", 3_078_465_000_075_600_514),
    workload!("regex.wasm", 8_845_213_782_717_735_127),
    workload!("json.wasm", -5_265_532_196_205_636_379),
    workload!("compress.wasm", -3_645_727_126_968_897_966),
];

mod ten_million_preemptions_change_no_result {
    use super::*;

    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_fuel() {
        soak(Preemption::Fuel, 10_000_000);
    }

    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_epochs() {
        soak(Preemption::Epoch, 10_000_000);
    }

    #[cfg(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_signals() {
        soak(Preemption::Signal, 10_000_000);
    }
}

#[test]
fn a_thousand_preemptions_change_no_result() {
    for preemption in sources() {
        soak(preemption, 1_000);
    }
}

/// Runs all workloads side by side, on two OS threads, until there were so many preemptions.
fn soak(preemption: Preemption, preemptions: u64) {
    let engine = engine(preemption);
    let modules = WORKLOADS.map(|(guest, _)| Module::new(&engine, guest).unwrap());
    let slice = match preemption {
        Preemption::Fuel => Slice::Fuel(10_000),
        _ => shortest_slice(preemption),
    };
    let count = AtomicU64::new(0);
    let rounds = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while count.load(Ordering::Relaxed) < preemptions {
                    let mut store = store_with_slice(&engine, (), slice);
                    let ids = modules
                        .each_ref()
                        .map(|module| spawn(&mut store, module, "run", &[Val::I32(1)]));
                    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
                    assert_eq!(run.end, RunEnd::AllFinished);
                    for (id, (_, result)) in ids.into_iter().zip(WORKLOADS) {
                        assert_eq!(returned(&mut store, id)[0].unwrap_i64(), result);
                    }
                    count.fetch_add(run.preemptions, Ordering::Relaxed);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "- {preemption:?}: {} preemptions, {} results, none wrong",
        count.into_inner(),
        rounds.into_inner() * WORKLOADS.len() as u64
    );
}

/// Threads that end in each way there is.
const ENDS: &str = r#"(module
    (func $deep (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 0))))
    (func (export "return") (param i32) (result i32) (call $deep (i32.const 20)))
    (func (export "trap") (param i32) (result i32) unreachable)
    (func (export "overflow") (param i32) (result i32) (call $deep (i32.const -1)))
    (func (export "spin") (param i32) (result i32) (loop $again (br $again)) unreachable))"#;

/// What a process has, that it should not have more and more of.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: usize,
    mappings: usize,
    descriptors: usize,
    os_threads: usize,
}

impl Held {
    fn now() -> Held {
        let count = |folder| fs::read_dir(folder).unwrap().count();
        Held {
            resident_kib: resident_kib(),
            mappings: fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count(),
            descriptors: count("/proc/self/fd"),
            os_threads: count("/proc/self/task"),
        }
    }
}

/// Spawns `rounds` times some threads that return, trap, overflow their stacks, are killed, and are
/// over a limit, in instances that are used again, and now and then in a new store and a new engine.
fn churn(preemption: Preemption, rounds: usize) {
    let mut after_warm_up = None;
    let mut threads = 0_u64;
    for era in 0..10 {
        let engine = engine(preemption);
        let module = Module::new(&engine, ENDS).unwrap();
        for _ in 0..5 {
            let mut store = store_with_slice(&engine, (), short_slice(preemption));
            let instances = [(); 5].map(|()| Instance::new(&mut store, &module, &[]).unwrap());
            for _ in 0..rounds / 50 {
                let exports = ["return", "trap", "overflow", "spin", "spin"];
                let ids: Vec<_> = exports
                    .iter()
                    .zip(instances)
                    .map(|(export, instance)| {
                        let func = instance.get_func(&mut store, export).unwrap();
                        let limit = match preemption {
                            Preemption::Fuel => ThreadOptions::new().fuel_limit(100_000),
                            _ => ThreadOptions::new().cpu_limit(ms(1)),
                        };
                        limit.spawn(&mut store, func, &[Val::I32(1)]).unwrap()
                    })
                    .collect();
                run_until(&mut store, |store| finished(store, ids[0]));
                ids[4].kill(&mut store).unwrap_or_default();
                run_all(&mut store);
                for id in &ids {
                    assert!(id.take_exit(&mut store).is_some());
                }
                threads += ids.len() as u64;
            }
            assert_eq!(store.wasm_threads().iter().count(), 0);
        }
        let held = Held::now();
        let before = *after_warm_up.get_or_insert(held);
        println!("- {preemption:?}, {threads} threads: {held:?}");
        if era > 0 {
            assert!(
                held.resident_kib < before.resident_kib + 2048,
                "{held:?}, {before:?}"
            );
            assert!(
                held.mappings <= before.mappings + 10,
                "{held:?}, {before:?}"
            );
            assert_eq!(held.descriptors, before.descriptors);
            assert!(
                held.os_threads <= before.os_threads + 1,
                "{held:?}, {before:?}"
            );
        }
    }
}

/// In a process of its own: what other tests hold is not counted.
mod nothing_is_left_of_threads_however_they_end {
    use super::*;

    #[test]
    fn short() {
        in_own_process(module_path!(), "short", || {
            for preemption in sources() {
                churn(preemption, 500);
            }
        });
    }

    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn long() {
        in_own_process(module_path!(), "long", || {
            for preemption in sources() {
                churn(preemption, 200_000);
            }
        });
    }
}

/// Two threads that count to `turns`, a turn in each slice.
fn dispatches(start: u64, turns: i64) -> u64 {
    let engine = engine(Preemption::Fuel);
    let wat = r#"(module (func (export "run") (param $n i64) (result i64) (local $i i64)
        (loop $again
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $i) (local.get $n))))
        (local.get $i)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = store_with_slice(&engine, (), Slice::Fuel(1));
    #[cfg(debug_assertions)]
    store.wasm_threads().count_from(start).unwrap();
    let ids = [(); 2].map(|()| spawn(&mut store, &module, "run", &[Val::I64(turns)]));
    let run = store.run_wasm_threads_for(Duration::MAX).unwrap();
    let counts = ids.map(|id| stats(&store, id).dispatches);
    assert_eq!(counts.iter().sum::<u64>(), run.dispatches);
    // In turns.
    assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
    for id in ids {
        assert!(id.as_u64() > start);
        assert_eq!(returned(&mut store, id)[0].unwrap_i64(), turns);
    }
    run.dispatches
}

#[cfg(debug_assertions)]
#[test]
fn counters_go_on_where_smaller_ones_would_end() {
    for bits in [16, 31, 32, 53, 63] {
        assert!(dispatches((1 << bits) - 100, 1_000) > 2_000);
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_billion_dispatches_are_counted_exactly() {
    assert!(dispatches(0, 500_000_000) > 1_000_000_000);
}
