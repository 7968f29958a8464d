//! Engines, and stores with a slice.

use super::{GUESTS, STATELESS, short_slice};
use wasmtime::preempt::*;
use wasmtime::*;

pub fn config(preemption: Preemption) -> Config {
    let mut config = Config::new();
    config.preemption(preemption);
    config
}

/// For a budget of fuel, under whichever source.
pub fn config_with_fuel(preemption: Preemption) -> Config {
    let mut config = config(preemption);
    config.consume_fuel(true);
    config
}

pub fn config_with_shared_memory(preemption: Preemption) -> Config {
    let mut config = config(preemption);
    config.shared_memory(true);
    config
}

pub fn engine(preemption: Preemption) -> Engine {
    Engine::new(&config(preemption)).unwrap()
}

/// A store with a short slice, and [`GUESTS`].
pub fn guests(preemption: Preemption) -> (Store<()>, Module) {
    let engine = engine(preemption);
    let module = Module::new(&engine, GUESTS).unwrap();
    let store = store_with_slice(&engine, (), short_slice(preemption));
    (store, module)
}

/// An instance of [`STATELESS`].
pub fn stateless<T: 'static>(store: &mut Store<T>) -> Instance {
    let module = Module::new(store.engine(), STATELESS).unwrap();
    Instance::new(store, &module, &[]).unwrap()
}

/// A store in which a slice is `slice`, unless a thread or a scheduler says otherwise.
pub fn store_with_slice<T: 'static>(engine: &Engine, data: T, slice: Slice) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.wasm_threads().set_slice(slice).unwrap();
    store
}
