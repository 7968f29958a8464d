//! A library that was written for OS threads: its output is what it is natively.

use crate::support::*;
use preempt_policies::Random;
use preempt_wasi_threads::ProcessOptions;
use std::fs;
use wasmtime::*;

/// The line of a level in `zstd.expected`.
fn expected(level: u32) -> String {
    let lines = fs::read_to_string(fixtures().join("zstd.expected")).unwrap();
    let start = format!("level {level},");
    let line = lines.lines().find(|line| line.starts_with(&start));
    line.unwrap().to_string()
}

#[test]
fn it_compresses_the_same_with_any_source_and_number_of_workers() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "zstd");
        for (args, slice) in [
            (["1", "4"], short_slice(source)),
            (["1", "1"], short_slice(source)),
            (["3", "8"], short_slice(source)),
        ] {
            let guest = run(&engine, &module, &args, slice);
            let level = args[0].parse().unwrap();
            assert_eq!(guest.end(), (expected(level), 0), "{args:?}, {source}");
        }
    }
}

#[test]
fn it_compresses_the_same_on_any_schedule() {
    let engine = engine(Preemption::Fuel);
    let module = fixture(&engine, "zstd");
    for seed in 0..3 {
        let mut store = store(&engine);
        let policy = Random::seeded(seed).slices(1_000..=1_000_000);
        store.wasm_threads().set_scheduler(policy).unwrap();
        let guest = spawn(&mut store, &module, &["1", "3"], ProcessOptions::new());
        store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(guest.end(), (expected(1), 0), "seed {seed}");
    }
}

#[test]
#[ignore = "takes a while"]
fn it_compresses_the_same_at_level_9() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "zstd");
        let guest = run(&engine, &module, &["9", "4"], short_slice(source));
        assert_eq!(guest.end(), (expected(9), 0), "{source}");
    }
}
