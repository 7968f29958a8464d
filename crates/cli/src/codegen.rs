//! The options that say how guests are compiled, and the engine that they make.

use crate::mode::Mode;
use crate::names;
use clap::Args;
use std::path::PathBuf;
use wasmtime::error::Context as _;
use wasmtime::{
    Cache, Config, Engine, ModuleVersionStrategy, PoolingAllocationConfig, Result, bail,
};

/// The fork that compiles guests. Other builds of Wasmtime of the same version compile them
/// in other ways.
const PIN: &str = include_str!("../../../vendor/upstream/pin.toml");

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Compilation")]
pub struct CodegenArgs {
    /// An option for compiling guests, as for `wasmtime run`
    ///
    /// `cache` keeps compiled guests for later runs, in a directory of the user. `cache=n` is
    /// the default. `cache-config=FILE` reads another configuration of the cache than the
    /// user's, and turns the cache on. May be repeated.
    #[arg(
        short = 'C',
        long = "codegen",
        value_name = "KEY[=VALUE]",
        value_parser = setting
    )]
    settings: Vec<Codegen>,

    /// Also run guests that `preempt compile` has compiled
    ///
    /// Give this only for files that you trust: their code can do anything that this process
    /// may do. They must have been compiled by this build of the command, with the same
    /// --preemption, and with --fuel if there is a --fuel-limit. Shared memories that they
    /// define have the limit that they were compiled with.
    #[arg(long)]
    pub allow_precompiled: bool,
}

/// A value of `-C`.
#[derive(Clone, Debug, PartialEq)]
enum Codegen {
    Cache(bool),
    CacheConfig(PathBuf),
}

fn setting(text: &str) -> Result<Codegen> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("cache", None | Some("y" | "yes" | "true")) => Ok(Codegen::Cache(true)),
        ("cache", Some("n" | "no" | "false")) => Ok(Codegen::Cache(false)),
        ("cache", Some(_)) => bail!("give `cache=y` or `cache=n`"),
        ("cache-config", Some(file)) if !file.is_empty() => Ok(Codegen::CacheConfig(file.into())),
        ("cache-config", _) => bail!("give a file: `cache-config=FILE`"),
        _ => bail!("the options are `cache` and `cache-config=FILE`"),
    }
}

impl CodegenArgs {
    /// The cache to keep compiled guests in, if one is wanted.
    ///
    /// # Errors
    ///
    /// If its configuration cannot be read.
    pub fn cache(&self) -> Result<Option<Cache>> {
        let (mut is_on, mut config) = (None, None);
        for setting in &self.settings {
            match setting {
                Codegen::Cache(on) => is_on = Some(*on),
                Codegen::CacheConfig(file) => config = Some(file.as_path()),
            }
        }
        if !is_on.unwrap_or(config.is_some()) {
            return Ok(None);
        }
        let cache = Cache::from_file(config).with_context(|| match config {
            Some(file) => format!("-C cache-config={}", names::path(file)),
            None => "-C cache".to_string(),
        });
        cache.map(Some)
    }
}

/// An engine that preempts guests according to `mode`. `counts_fuel` makes compiled code
/// count fuel under every mode. Instances are from `pool`, if there is one.
///
/// # Errors
///
/// If that mode does not work here.
pub fn engine(
    mode: Mode,
    counts_fuel: bool,
    cache: Option<Cache>,
    pool: Option<PoolingAllocationConfig>,
) -> Result<Engine> {
    let mut config = Config::new();
    config.preemption(mode.into()).shared_memory(true);
    // Guest threads cannot call asynchronous functions, and upstream's implementation has an
    // open advisory: see docs/advisories.md. What is asynchronous on the host's side is not this.
    config.wasm_component_model_async(false);
    config.module_version(ModuleVersionStrategy::Custom(fork()))?;
    config.cache(cache);
    if let Some(pool) = pool {
        config.allocation_strategy(pool);
    }
    if counts_fuel && mode != Mode::Fuel {
        config.consume_fuel(true);
    }
    Engine::new(&config).with_context(|| match mode {
        Mode::Signal => "--preemption signal does not work here; use --preemption epoch".into(),
        mode => format!("--preemption {mode} does not work here"),
    })
}

/// Identifies the fork.
fn fork() -> String {
    let value = |key: &str| {
        let mut lines = PIN.lines().filter_map(|line| line.split_once(" = "));
        let found = lines.find(|(name, _)| *name == key);
        found.map_or("unknown", |(_, value)| value.trim_matches('"'))
    };
    format!(
        "{} of wasmtime-preempt {}",
        value("version"),
        value("patched")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_code_names_its_fork() {
        let fork = fork();
        let words: Vec<&str> = fork.split(' ').collect();
        let [version, "of", "wasmtime-preempt", tree] = words[..] else {
            panic!("{fork}");
        };
        assert_eq!(version.split('.').count(), 3, "{fork}");
        assert_eq!(tree.len(), 40, "{fork}");
    }

    #[test]
    fn settings_are_those_of_wasmtime() {
        let setting = |text| setting(text).map_err(|error| error.to_string());
        assert_eq!(setting("cache"), Ok(Codegen::Cache(true)));
        assert_eq!(setting("cache=n"), Ok(Codegen::Cache(false)));
        let file = Codegen::CacheConfig("a=b".into());
        assert_eq!(setting("cache-config=a=b"), Ok(file));
        for text in [
            "cache=maybe",
            "cache-config",
            "cache-config=",
            "opt-level=2",
            "",
        ] {
            assert!(setting(text).unwrap_err().contains("cache"), "{text}");
        }
    }
}
