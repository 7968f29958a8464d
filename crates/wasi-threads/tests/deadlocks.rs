//! Threads that wait for each other for ever are reported, with what each waits for.

use crate::support::*;
use preempt_policies::Random;
use preempt_wasi_threads::{ProcessOptions, Tid};
use std::collections::BTreeSet;
use wasmtime::preempt::*;

#[test]
fn two_mutexes_in_opposite_order() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "deadlock");
        let mut store = store(&engine);
        let guest = spawn(&mut store, &module, &[], ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::Deadlock, "{source}");

        let threads = guest.process.threads();
        let ids: Vec<ThreadId> = threads.iter().map(|(_, id)| *id).collect();
        let stuck: Vec<ThreadId> = run.deadlocked.iter().map(|(id, _)| *id).collect();
        assert_eq!(stuck, ids, "{source}");
        assert_eq!(threads[0], (Tid::MAIN, guest.process.main()));
        // Main for the end of the first thread, and each of the two for the mutex that the
        // other has: all of them different.
        let atomics = run.deadlocked.iter().map(|(_, wait)| match wait {
            WaitFor::Atomic(address) => *address,
            wait => panic!("{source}: {wait:?}"),
        });
        let atomics: BTreeSet<u64> = atomics.collect();
        assert_eq!(atomics.len(), 3, "{source}");
        // The addresses are the guest's: each mutex is locked and awaited, the thread is
        // not done.
        let main = run.deadlocked[0].1;
        for (_, wait) in &run.deadlocked {
            let WaitFor::Atomic(address) = wait else {
                unreachable!()
            };
            let expected = if *wait == main { 0 } else { 2 };
            assert_eq!(word(&guest.process, *address), expected, "{source}");
        }

        assert!(guest.process.outcome().is_none());
        guest.process.kill();
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(guest.process.has_ended());
        assert!(matches!(guest.outcome().exit, Exit::Killed), "{source}");
    }
}

#[test]
fn one_that_depends_on_the_schedule_is_found_by_a_seed() {
    let engine = engine(Preemption::Fuel);
    let module = fixture(&engine, "deadlock");
    let run = |seed| {
        let mut store = store(&engine);
        let policy = Random::seeded(seed).slices(1..=2_000);
        store.wasm_threads().set_scheduler(policy).unwrap();
        let args = ["maybe"];
        let guest = spawn(&mut store, &module, &args, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        (run.end, run.deadlocked, run.dispatches, guest.stdout())
    };
    let runs: Vec<_> = (0..60).map(run).collect();
    let stuck = runs.iter().position(|run| run.0 == RunEnd::Deadlock);
    let fine = runs.iter().position(|run| run.0 == RunEnd::AllFinished);
    let (stuck, fine) = (stuck.expect("a deadlock"), fine.expect("none"));
    assert_eq!(runs[fine].3, "no deadlock\n");
    assert_eq!(runs[stuck].3, "");
    assert_eq!(run(stuck as u64), runs[stuck]);
}

#[test]
fn a_process_that_is_stuck_keeps_no_other_from_running() {
    for source in sources() {
        let engine = engine(source);
        let mut store = store(&engine);
        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let (stuck, queue) = (fixture(&engine, "deadlock"), fixture(&engine, "queue"));
        let stuck = spawn(&mut store, &stuck, &[], ProcessOptions::new());
        let args = ["2", "2", "500"];
        let queue = spawn(&mut store, &queue, &args, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::Deadlock, "{source}");
        assert_eq!(run.deadlocked.len(), 3);
        assert!(stuck.process.outcome().is_none());
        assert_eq!(queue.end(), ("500 items, sum 125250".to_string(), 0));
    }
}
