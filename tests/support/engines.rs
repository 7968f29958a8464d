//! Engines, and stores with a slice.

use super::{GUESTS, STATELESS, is_emulated, short_slice};
use wasmtime::preempt::*;
use wasmtime::*;

pub fn config(preemption: Preemption) -> Config {
    let mut config = plain_config();
    config.preemption(preemption);
    config
}

/// Upstream's defaults. An emulator keeps a record of each page that is mapped, so there memories
/// reserve less.
pub fn plain_config() -> Config {
    let mut config = Config::new();
    if is_emulated() {
        config.memory_reservation(64 << 20);
        config.memory_guard_size(64 << 10);
        config.memory_reservation_for_growth(1 << 20);
    }
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
