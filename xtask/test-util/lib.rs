//! What upstream's tests use of this crate.

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

pub mod wast {
    use serde::de::DeserializeOwned;

    /// Reads the lines at the beginning of `text` that begin with `comment`, which are TOML.
    pub fn parse_test_config<T: DeserializeOwned>(
        text: &str,
        comment: &'static str,
    ) -> wasmtime::Result<T> {
        let lines = text.lines().map_while(|line| line.strip_prefix(comment));
        let config: Vec<&str> = lines.collect();
        toml::from_str(&config.join("\n")).map_err(|error| wasmtime::format_err!("{error}"))
    }
}
