//! Components, which this command cannot run: what they are, and what does run them.

use wasmparser::{Parser, Payload};

/// The exports that `wasmtime` runs by itself, with the subcommand for each.
const KNOWN: [(&str, &str); 3] = [
    ("wasi:cli/run", "run"),
    ("wasi:http/incoming-handler", "serve"),
    ("wasi:http/handler", "serve"),
];

/// Why the component `binary`, of the file that is shown as `file`, does not run here.
/// `None` if it is not a component.
pub fn refused(binary: &[u8], file: &str) -> Option<String> {
    if !Parser::is_component(binary) {
        return None;
    }
    let is = "it is a component, and this command runs modules";
    let exports = exports(binary);
    let exported = |interface: &str| exports.iter().any(|name| is_version_of(name, interface));
    let known = KNOWN.iter().find(|(interface, _)| exported(interface));
    Some(match known {
        Some((interface, command)) => {
            format!("{is}; it exports `{interface}`, which `wasmtime {command} {file}` runs")
        }
        None => format!("{is}; `wasmtime run --invoke 'FUNCTION()' {file}` calls its exports"),
    })
}

/// Whether `name` is `interface`, or that with an `@` and a version.
fn is_version_of(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// The names of its exports, as far as it is valid.
fn exports(binary: &[u8]) -> Vec<&str> {
    let mut names = Vec::new();
    // How many modules and components inside of it this is in.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(binary) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentExportSection(exports)) if depth == 0 => {
                names.extend(exports.into_iter().flatten().map(|export| export.name.name));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}

#[cfg(test)]
mod tests {

    fn refused(wat: &str) -> Option<String> {
        super::refused(&wat::parse_str(wat).unwrap(), "a.wasm")
    }

    #[test]
    fn what_runs_a_component_depends_on_its_exports() {
        let exporting = |name: &str| {
            let wat = format!(
                r#"(component
                    (component (instance $i) (export "wasi:cli/run" (instance $i)))
                    (core module) (instance $i) (export "{name}" (instance $i)))"#
            );
            refused(&wat).unwrap()
        };
        let command = exporting("wasi:cli/run@0.2.0");
        assert!(command.contains("`wasmtime run a.wasm`"), "{command}");
        for handler in ["wasi:http/incoming-handler@0.2.3", "wasi:http/handler"] {
            let server = exporting(handler);
            assert!(server.contains("`wasmtime serve a.wasm`"), "{server}");
        }
        let other = exporting("wasi:cli/runner");
        assert!(other.contains("--invoke 'FUNCTION()' a.wasm"), "{other}");
    }

    #[test]
    fn modules_are_none() {
        assert_eq!(refused("(module)"), None);
        assert_eq!(super::refused(b"", ""), None);
    }
}
