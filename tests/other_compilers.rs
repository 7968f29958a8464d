//! Guests that Winch compiles, or that Pulley interprets, are preempted by fuel and by epochs.

use crate::support::*;
use wasmtime::*;

for_each_preemption!([fuel, epoch] winch_code_is_preempted, pulley_code_is_preempted);

fn is_preempted(config: &Config, preemption: Preemption) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut store = store_with_slice(&engine, (), short_slice(preemption));
    let spinners = [(); 2].map(|()| spawn_spinner(&mut store, &module).0);
    let sum = spawn(&mut store, &module, "sum", &[Val::I64(100_000)]);
    run_until(&mut store, |store| {
        spinners.iter().all(|id| stats(store, *id).preemptions > 5)
            && sum.info(store).unwrap().state == preempt::ThreadState::Finished
    });
    assert_eq!(bits(&returned(&mut store, sum)), [5_000_050_000]);
    assert_eq!(store.shutdown_wasm_threads(), 2);
}

fn winch_code_is_preempted(preemption: Preemption) {
    let mut config = config(preemption);
    config.strategy(Strategy::Winch);
    is_preempted(&config, preemption);
}

fn pulley_code_is_preempted(preemption: Preemption) {
    let mut config = config(preemption);
    config.target("pulley64").unwrap();
    is_preempted(&config, preemption);
}
