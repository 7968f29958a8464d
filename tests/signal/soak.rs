//! Guests of every kind, several OS threads, the shortest slices: every outcome is
//! that of an uninterrupted call, backtraces of traps included.

use super::support::*;
use std::thread;

const OS_THREADS: u64 = 4;

/// Returns how many preemptions there were.
fn soak(preemptions: u64) -> u64 {
    let engine = engine();
    let module = mixed(&engine);
    let soak_one = || {
        let mut total = 0;
        while total < preemptions / OS_THREADS {
            // Stores come and go as well. A guest that writes to its memory ends
            // differently the second time.
            let mut store = store(&engine, ());
            let jobs = mixed_jobs(&mut store, &module);
            total += run_once(&mut store, &jobs).preemptions;
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
