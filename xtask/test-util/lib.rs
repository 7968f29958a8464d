//! What upstream's tests of components use of this crate.

pub mod component {
    use wasmtime::{Config, Engine};

    pub fn config() -> Config {
        Config::new()
    }

    pub fn engine() -> Engine {
        Engine::new(&config()).unwrap()
    }

    pub fn async_engine() -> Engine {
        engine()
    }

    pub fn map_engine() -> Engine {
        let mut config = config();
        config.wasm_component_model_map(true);
        Engine::new(&config).unwrap()
    }
}
