//! A race in a guest is found by trying seeds, and is there again with the same seed.

use crate::support::*;
use preempt_policies::{Pct, Random};
use preempt_wasi_threads::ProcessOptions;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// The most seeds that are tried.
const SEEDS: u64 = 200;

struct Hunt {
    engine: Engine,
    module: Module,
}

impl Hunt {
    fn new() -> Hunt {
        let engine = engine(Preemption::Fuel);
        let module = fixture(&engine, "race");
        Hunt { engine, module }
    }

    /// What it prints with a policy, its status, and how many dispatches it took.
    fn run(&self, policy: impl ThreadScheduler, args: &[&str]) -> (String, i32, u64) {
        let mut store = store(&self.engine);
        // Unless the policy says otherwise: a step is from one check of fuel to the next.
        store.wasm_threads().set_slice(Slice::Fuel(1)).unwrap();
        store.wasm_threads().set_scheduler(policy).unwrap();
        let guest = spawn(&mut store, &self.module, args, ProcessOptions::new());
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished);
        let (line, status) = guest.end();
        (line, status, run.dispatches)
    }

    /// The first seed that loses an update, which has to do so again.
    fn find<P: ThreadScheduler>(&self, args: &[&str], policy: impl Fn(u64) -> P) {
        let found = (0..SEEDS).find_map(|seed| {
            let result = self.run(policy(seed), args);
            (result.1 != 0).then_some((seed, result))
        });
        let (seed, result) = found.expect("a seed that finds the race");
        assert_eq!((&*result.0, result.1), ("lost update", 3));
        println!("seed {seed} finds it");
        for _ in 0..2 {
            assert_eq!(self.run(policy(seed), args), result);
        }
        // Another engine, with code of its own, and the same.
        assert_eq!(Hunt::new().run(policy(seed), args), result);
    }
}

#[test]
fn long_slices_hide_it() {
    let hunt = Hunt::new();
    let guest = run(&hunt.engine, &hunt.module, &[], Slice::Fuel(1_000_000_000));
    assert_eq!(guest.end(), ("ok".to_string(), 0));
}

#[test]
fn random_slices_find_it() {
    Hunt::new().find(&["2", "20", "100"], |seed| {
        Random::seeded(seed).slices(1..=200)
    });
}

#[test]
fn probabilistic_concurrency_testing_finds_it() {
    let (hunt, args) = (Hunt::new(), ["2", "4", "10"]);
    // A bug of depth 2, somewhere in that many steps.
    let (_, _, steps) = hunt.run(Pct::new(0, 3, 1, 1), &args);
    assert!((100..10_000).contains(&steps), "{steps}");
    hunt.find(&args, |seed| Pct::new(seed, 3, steps, 2));
}

#[test]
fn the_other_sources_lose_updates_too() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "race");
        // Mostly in the middle of an update: there is hardly any other work.
        let slice = match source {
            Preemption::Fuel => Slice::Fuel(1_000),
            _ => Slice::Time(Duration::from_micros(50)),
        };
        let args = ["32", "10000", "1"];
        let mut runs = (0..50).map(|_| run(&engine, &module, &args, slice));
        let lost = runs.any(|guest| guest.status() == 3);
        assert!(lost, "{source}");
    }
}
