//! Whether a component can import all that it imports.

use crate::names;
use crate::wasi::Host;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, bail};

/// The packages of the world `wasi:cli/command`.
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Checks that `linker` has the imports of a component.
///
/// # Errors
///
/// Names the imports that are missing, or one of another type.
pub fn check(engine: &Engine, component: &Component, linker: &Linker<Host>) -> Result<()> {
    let ty = component.component_type();
    let missing: Vec<&str> = ty
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !is_provided(name))
        .collect();
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|name| names::name(name)).collect();
        bail!(
            "it imports {}, which this command does not provide; components can import what is in \
             the world `wasi:cli/command` of WASI 0.2{}",
            list.join(", "),
            match missing.iter().any(|name| name.starts_with("wasi:http/")) {
                true => "; `wasmtime run -S http` provides `wasi:http`",
                false => "",
            }
        );
    }
    let fits = linker.instantiate_pre(component).map(drop);
    fits.context("one of its imports is not as WASI 0.2 defines it")
}

/// Whether it is an interface of WASI 0.2 that a command may import.
fn is_provided(import: &str) -> bool {
    let Some((package, rest)) = import.strip_prefix("wasi:").and_then(|i| i.split_once('/')) else {
        return false;
    };
    let version = rest.split_once('@').map(|(_, version)| version);
    PACKAGES.contains(&package) && version.is_some_and(|version| version.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_the_command_world_are_provided() {
        assert!(is_provided("wasi:cli/stdout@0.2.0"));
        assert!(is_provided("wasi:sockets/tcp@0.2.12"));
        for other in [
            "wasi:http/types@0.2.0",
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout",
            "stdout",
            "a:cli/stdout@0.2.0",
        ] {
            assert!(!is_provided(other), "{other}");
        }
    }
}
