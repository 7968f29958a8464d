//! Runs the most important guests first, without starving the others.
//!
//! ```sh
//! cargo run --example priorities
//! ```

use std::time::Duration;
use wasmtime::preempt::Traced;
use wasmtime_preempt::policies::Priority;
use wasmtime_preempt::trace::stats::Stats;
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(module
  (func (export "count") (param $n i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))))
"#;

fn main() -> Result<()> {
    // Slices in fuel make this run the same every time, on every machine. The clock
    // of such a store counts the fuel that its threads have used.
    let mut config = Config::new();
    config.preemption(Preemption::Fuel);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;

    println!("strict: whoever is less important waits until the others are done");
    run(&engine, &module, Priority::strict())?;

    // Whoever has waited for longer than the patience gets one slice, whatever its
    // priority. At most every second slice is given away like this.
    println!("with aging: nobody waits much longer than 100 k units of fuel");
    run(&engine, &module, Priority::new(100_000))
}

fn run(engine: &Engine, module: &Module, policy: Priority) -> Result<()> {
    let mut store = Store::new(engine, ());
    store.wasm_threads().set_slice(Slice::Fuel(10_000))?;
    store.wasm_threads().set_scheduler(policy)?;
    store.wasm_threads().set_trace(10_000)?;

    for (name, priority) in [("background", 0), ("normal", 5), ("urgent", 10)] {
        let instance = Instance::new(&mut store, module, &[])?;
        let func = instance.get_func(&mut store, "count").expect("an export");
        let options = ThreadOptions::new().name(name).priority(priority);
        options.spawn(&mut store, func, &[Val::I32(100_000)])?;
    }
    store.run_wasm_threads_for(Duration::MAX)?;

    let trace = store.wasm_threads().take_trace().expect("a trace is on");
    let stats = Stats::of(&trace);
    let name = |id| {
        let thread = stats.threads.iter().find(|thread| thread.thread == id);
        thread
            .and_then(|thread| thread.name.as_deref())
            .unwrap_or("?")
    };

    let returned = trace
        .events
        .iter()
        .filter(|event| event.what == Traced::Returned);
    let order: Vec<&str> = returned.map(|event| name(event.thread)).collect();
    println!("  finished in this order: {}", order.join(", "));
    for thread in &stats.threads {
        println!(
            "  {:10} {:>4} slices, its longest wait {:>7} units of fuel",
            name(thread.thread),
            thread.slices,
            thread.longest_wait,
        );
    }
    Ok(())
}
