//! A process that spawns as many threads as it can goes on.

use crate::support::*;
use wasmtime::*;

fn enough_mappings_are_left(preemption: Preemption) {
    let mut config = config(preemption);
    config.async_stack_size(128 << 10).max_wasm_stack(32 << 10);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, STATELESS).unwrap();
    let mut store = Store::new(&engine, ());
    store.wasm_threads().set_max_threads(1_000_000).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let nothing = instance.get_func(&mut store, "nothing").unwrap();
    let mut spawned = 0;
    let error = loop {
        match store.spawn_wasm_thread(nothing, &[]) {
            Ok(_) => spawned += 1,
            Err(error) => break format!("{error:#}"),
        }
        assert!(spawned < 1_000_000, "the kernel seems to have no limit");
    };
    assert!(error.contains("vm.max_map_count"), "{error}");
    assert!(spawned > 1_000, "{spawned}");
    // The rest of the process: an OS thread, another engine, another store with an instance.
    std::thread::spawn(move || {
        let engine = crate::support::engine(preemption);
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, "(module (memory 1))").unwrap();
        Instance::new(&mut store, &module, &[]).unwrap();
    })
    .join()
    .unwrap();
    let run = run_all(&mut store);
    assert_eq!(run.finished, spawned);
    // There is room again, if not at once.
    store.shutdown_wasm_threads();
    let ids: Vec<_> = store
        .wasm_threads()
        .iter()
        .map(|thread| thread.id)
        .collect();
    for id in ids {
        returned(&mut store, id);
    }
    let start = std::time::Instant::now();
    while let Err(error) = store.spawn_wasm_thread(nothing, &[]) {
        assert!(start.elapsed() < HANG, "{error:#}");
        std::thread::yield_now();
    }
    run_all(&mut store);
}

macro_rules! alone {
    ($($name:ident: $preemption:expr;)*) => {
        $(
            #[test]
            fn $name() {
                in_own_process(module_path!(), stringify!($name), || {
                    enough_mappings_are_left($preemption);
                });
            }
        )*
    };
}

alone! {
    under_fuel_enough_are_left_for_the_process: Preemption::Fuel;
    under_epochs_enough_are_left_for_the_process: Preemption::Epoch;
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
alone! {
    under_signals_enough_are_left_for_the_process: Preemption::Signal;
}
