//! Whether a component can import all that it imports.

use crate::names;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, bail};

/// Checks that `linker`, which has what is in WASI 0.2, has the imports of a component.
///
/// # Errors
///
/// Names the imports that are missing, or one of another type.
pub fn check<T>(engine: &Engine, component: &Component, linker: &Linker<T>) -> Result<()> {
    let ty = component.component_type();
    let missing: Vec<String> = ty
        .imports(engine)
        .filter(|(name, _)| !is_provided(name))
        .map(|(name, _)| names::name(name))
        .collect();
    if !missing.is_empty() {
        bail!(
            "it imports {}, which this command does not provide; components can import what is in \
             the worlds `wasi:cli/command` and `wasi:http/proxy` of WASI 0.2",
            missing.join(", ")
        );
    }
    let fits = linker.instantiate_pre(component).map(drop);
    fits.context("one of its imports is not as WASI 0.2 defines it")
}

/// Whether it is an interface of WASI 0.2 that a component may import.
fn is_provided(import: &str) -> bool {
    let import = import.strip_prefix("wasi:");
    let Some((package, rest)) = import.and_then(|import| import.split_once('/')) else {
        return false;
    };
    const PACKAGES: [&str; 7] = [
        "cli",
        "clocks",
        "filesystem",
        "http",
        "io",
        "random",
        "sockets",
    ];
    let version = rest.split_once('@').map(|(_, version)| version);
    PACKAGES.contains(&package) && version.is_some_and(|version| version.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_both_worlds_are_provided() {
        assert!(is_provided("wasi:cli/stdout@0.2.0"));
        assert!(is_provided("wasi:sockets/tcp@0.2.12"));
        assert!(is_provided("wasi:http/types@0.2.4"));
        for other in [
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout",
            "wasi:keyvalue/store@0.2.0",
            "stdout",
            "a:cli/stdout@0.2.0",
        ] {
            assert!(!is_provided(other), "{other}");
        }
    }
}
