//! Ends a guest that never returns after 50 ms on the CPU, and asks the host
//! before another one is ended.
//!
//! ```sh
//! cargo run --example timeouts
//! ```

use std::time::Duration;
use wasmtime::preempt::ThreadLimits;
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(module
  (func (export "loop") (loop $forever (br $forever)))

  ;; Counts to n.
  (func (export "count") (param $n i32) (result i32)
    (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $i)))
"#;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn main() -> Result<()> {
    // Under `Preemption::Signal`, which this is where it works, a timer signal
    // interrupts the guest on this very OS thread: no background thread has to tick,
    // and the guest's code has no checks in it.
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    store.wasm_threads().set_slice(Slice::Time(ms(10)))?;

    let spawn = |store: &mut Store<()>, export, params: &[Val], options: ThreadOptions| {
        let instance = Instance::new(&mut *store, &module, &[])?;
        let func = instance.get_func(&mut *store, export).expect("an export");
        options.spawn(store, func, params)
    };

    // An infinite loop that may have 50 ms. What counts is its own time on the CPU:
    // not the turns of its siblings.
    let options = ThreadOptions::new().name("loop").cpu_limit(ms(50));
    let looping = spawn(&mut store, "loop", &[], options)?;

    // Its sibling has no limit.
    let options = ThreadOptions::new().name("sibling");
    let sibling = spawn(&mut store, "count", &[Val::I32(50_000_000)], options)?;

    // Another infinite loop. At 20 ms the host is asked, at 30 ms it would be over.
    let limits = ThreadLimits::new().soft_cpu_time(ms(20)).cpu_time(ms(30));
    let options = ThreadOptions::new().name("patient").limits(limits);
    let patient = spawn(&mut store, "loop", &[], options)?;

    // The hook has the store: it may look at the thread, bill somebody, raise the
    // budget, or return an error, which ends the thread. This one raises it once.
    let mut raised = false;
    store
        .wasm_threads()
        .set_soft_limit_hook(move |mut store, soft| {
            let info = soft.thread.info(&store).expect("it has not finished");
            println!("{}: asks for more time", info.name.unwrap_or("?"));
            if !raised {
                raised = true;
                // Both limits count from the thread's start.
                let limits = ThreadLimits::new().soft_cpu_time(ms(50)).cpu_time(ms(60));
                soft.thread.set_limits(&mut store, limits)?;
                println!("  and may have 60 ms in all");
            } else {
                println!("  and gets none");
            }
            Ok(())
        })?;

    // No end is given, as all of them come to one.
    let run = store.run_wasm_threads_for(Duration::MAX)?;
    println!("{:?} after {:.0?}", run.end, run.elapsed);

    for id in [looping, sibling, patient] {
        let info = id.info(&store).expect("its exit was not taken");
        let name = info.name.unwrap_or("?").to_string();
        match id.take_exit(&mut store) {
            Some(Exit::OverLimit(over)) => println!("{name}: {over}"),
            Some(Exit::Returned(values)) => println!("{name}: returned {values:?}"),
            other => println!("{name}: {other:?}"),
        }
    }
    Ok(())
}
