//! Shares the CPU among guests that never yield, in proportion to their weights.
//!
//! ```sh
//! cargo run --example fair_share
//! ```

use std::collections::HashMap;
use std::time::Duration;
use wasmtime_preempt::policies::WeightedFair;
use wasmtime_preempt::trace::stats::Stats;
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(module
  (func (export "loop") (loop $forever (br $forever))))
"#;

fn main() -> Result<()> {
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());

    // A policy decides who is next, and for how long: here for 1 ms at a time, in
    // the ticks of the store's clock, which are nanoseconds.
    store
        .wasm_threads()
        .set_scheduler(WeightedFair::new(1_000_000))?;

    let mut weights = HashMap::new();
    for (name, weight) in [("bronze", 1), ("silver", 2), ("gold", 5)] {
        let instance = Instance::new(&mut store, &module, &[])?;
        let func = instance.get_func(&mut store, "loop").expect("an export");
        let options = ThreadOptions::new().name(name).weight(weight);
        let id = options.spawn(&mut store, func, &[])?;
        weights.insert(id, f64::from(weight));
    }

    // A trace records what happens, so that it can be looked at afterwards. There is
    // room for the latest 10,000 events; each turn makes two.
    store.wasm_threads().set_trace(10_000)?;
    store.run_wasm_threads_for(Duration::from_millis(500))?;
    let trace = store.wasm_threads().take_trace().expect("a trace is on");

    let stats = Stats::of(&trace);
    let weight = |id| weights.get(&id).copied().unwrap_or(1.0);
    println!(
        "{:8} {:>6} {:>7} {:>9}",
        "thread", "turns", "got", "entitled"
    );
    for (thread, share) in stats.threads.iter().zip(stats.shares(weight)) {
        println!(
            "{:8} {:>6} {:>6.2}% {:>8.2}%",
            thread.name.as_deref().unwrap_or("?"),
            thread.slices,
            100.0 * share.got,
            100.0 * share.entitled,
        );
    }
    // 1 if each got exactly what its weight entitles it to, 1/3 if one got all.
    let fairness = stats.weighted_fairness(weight).unwrap_or(0.0);
    println!("Jain's index: {fairness:.4}");

    store.shutdown_wasm_threads();
    Ok(())
}
