//! Guests of every kind, several OS threads, the shortest slices: every outcome is
//! that of an uninterrupted call, backtraces of traps included.

use super::support::*;
use std::thread;

const OS_THREADS: u64 = 4;

/// How large the guests of `MIX` are here: longer, so that they are preempted often
/// for each store that is made.
fn size(export: &str, size: i64) -> [Val; 1] {
    [Val::I64(match export {
        // Of Fibonacci, whose time grows by 1.6 a step.
        "recursive" => size + 3,
        _ => size * 4,
    })]
}

/// Runs everything in `MIX`, in a new store. Returns how many preemptions there were.
fn run_mix(engine: &Engine, module: &Module, outcomes: &[Outcome]) -> u64 {
    let linker = linker(engine);
    let mut store = store(engine, ());
    let spawn = |(export, n): &(&str, i64)| {
        spawn_linked(&mut store, &linker, module, export, &size(export, *n))
    };
    let ids: Vec<_> = MIX.iter().map(spawn).collect();
    let summary = run_all(&mut store);
    for (outcome, id) in outcomes.iter().zip(ids) {
        assert_eq!(Outcome::of_thread(&mut store, id), *outcome);
    }
    summary.preemptions
}

/// Returns how many preemptions there were.
fn soak(preemptions: u64) -> u64 {
    let engine = engine();
    let module = mixed(&engine);
    let linker = linker(&engine);
    let uninterrupted = |(export, n): &(&str, i64)| {
        let mut store = store(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let func = instance.get_func(&mut store, export).unwrap();
        Outcome::of_call(&mut store, func, &size(export, *n))
    };
    let outcomes: Vec<_> = MIX.iter().map(uninterrupted).collect();
    let soak_one = || {
        let mut total = 0;
        while total < preemptions / OS_THREADS {
            total += run_mix(&engine, &module, &outcomes);
        }
        total
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..OS_THREADS).map(|_| scope.spawn(soak_one)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    })
}

#[test]
fn mixed_guests_end_as_if_uninterrupted() {
    let preemptions = soak(10_000);
    println!("- {preemptions} preemptions");
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn mixed_guests_end_as_if_uninterrupted_after_1_000_000_preemptions() {
    let start = Instant::now();
    let preemptions = soak(1_000_000);
    println!("- {preemptions} preemptions in {:?}", start.elapsed());
    assert!(preemptions >= 1_000_000);
}
