//! A component without its code: what it imports and exports, long before it is compiled.
//!
//! Its outline has the same modules and components inside, in which each function only traps.

use std::borrow::Cow;
use wasm_encoder::Encode;
use wasmparser::{BinaryReader, Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{Engine, Result, bail};

/// The sections that this looks into, by their ids in the binary format.
const MODULE_IN_COMPONENT: u8 = 1;
const COMPONENT_IN_COMPONENT: u8 = 4;
const CODE_IN_MODULE: u8 = 10;

/// What a module and a component begin with.
const HEADER: usize = 8;

/// How deep components may be inside of others: far deeper than tools make them.
const MOST_DEPTH: usize = 64;

/// No locals, `unreachable`, `end`.
const TRAP: [u8; 3] = [0, 0x00, 0x0b];

/// The outline of the component `binary`. `None` if it is not valid for `engine`, which its
/// compiler will report.
pub fn of(engine: &Engine, binary: &[u8]) -> Option<Component> {
    let outline = without_code(binary, MOST_DEPTH)?;
    Component::new(engine, outline).ok()
}

/// `None` if it is invalid, or components are inside of others too deep.
fn without_code(binary: &[u8], depth: usize) -> Option<Vec<u8>> {
    let is_component = Parser::is_component(binary);
    let mut reader = BinaryReader::new(binary, 0);
    let mut outline = reader.read_bytes(HEADER).ok()?.to_vec();
    while !reader.eof() {
        let id = reader.read_u8().ok()?;
        let len = reader.read_var_u32().ok()?;
        let contents = reader.read_bytes(len as usize).ok()?;
        let contents = match (is_component, id) {
            (true, MODULE_IN_COMPONENT | COMPONENT_IN_COMPONENT) => {
                Cow::Owned(without_code(contents, depth.checked_sub(1)?)?)
            }
            (false, CODE_IN_MODULE) => Cow::Owned(traps(contents)?),
            _ => Cow::Borrowed(contents),
        };
        outline.push(id);
        contents.encode(&mut outline);
    }
    Some(outline)
}

/// A code section with as many functions as `code`.
fn traps(code: &[u8]) -> Option<Vec<u8>> {
    let functions = BinaryReader::new(code, 0).read_var_u32().ok()?;
    // Each of them takes at least two bytes.
    if functions as usize > code.len() {
        return None;
    }
    let mut traps = Vec::new();
    functions.encode(&mut traps);
    for _ in 0..functions {
        TRAP[..].encode(&mut traps);
    }
    Some(traps)
}

/// # Errors
///
/// If a module in the component defines a shared memory: the limit of a guest's memory does
/// not hold for those. A component cannot have threads that would share one.
pub fn refuse_shared_memories(binary: &[u8]) -> Result<()> {
    for payload in Parser::new(0).parse_all(binary) {
        // What is invalid is the compiler's to report.
        let Ok(payload) = payload else { break };
        if let Payload::MemorySection(memories) = payload
            && memories.into_iter().flatten().any(|memory| memory.shared)
        {
            bail!(
                "a module in it defines a shared memory, and components have no threads to share \
                 it with; build it without threads"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Engine};

    fn engine() -> Engine {
        Engine::new(Config::new().shared_memory(true)).unwrap()
    }

    fn names(component: &Component, engine: &Engine) -> Vec<String> {
        let ty = component.component_type();
        let imports = ty.imports(engine).map(|(name, _)| name.to_string());
        let exports = ty.exports(engine).map(|(name, _)| name.to_string());
        imports.chain(exports).collect()
    }

    #[test]
    fn outline_has_what_the_component_imports_and_exports() {
        let wat = r#"(component
            (import "a:b/c" (instance (export "f" (func (param "x" string)))))
            (component $inner
                (core module $m (func (export "f") (result i32) (i32.const 1)) (func $g) (start $g))
                (core instance $i (instantiate $m))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))
            (instance $i (instantiate $inner))
            (export "f" (func $i "f")) (export "i" (instance $i)))"#;
        let engine = engine();
        let binary = wat::parse_str(wat).unwrap();
        let component = Component::new(&engine, &binary).unwrap();
        let outline = of(&engine, &binary).unwrap();
        assert_eq!(names(&outline, &engine), ["a:b/c", "f", "i"]);
        assert_eq!(names(&outline, &engine), names(&component, &engine));
    }

    #[test]
    fn code_is_not_looked_at() {
        let wat = r#"(component (core module (func (result i32))))"#;
        let binary = wat::parse_str(wat).unwrap();
        assert!(Component::new(&engine(), &binary).is_err());
        assert!(of(&engine(), &binary).is_some());
    }

    #[test]
    fn invalid_component_has_none() {
        let mut deep = wat::parse_str("(component)").unwrap();
        for _ in 0..MOST_DEPTH + 1 {
            let mut outer = deep[..HEADER].to_vec();
            outer.push(COMPONENT_IN_COMPONENT);
            deep.encode(&mut outer);
            deep = outer;
        }
        let cut = &wat::parse_str("(component (core module))").unwrap();
        for binary in [
            &deep[..],
            &cut[..cut.len() - 1],
            b"\0asm\x0d\0\x01\0\x01\xff",
            b"",
        ] {
            assert!(of(&engine(), binary).is_none());
        }
    }

    #[test]
    fn shared_memories_are_refused_at_any_depth() {
        let refuse = |wat: &str| refuse_shared_memories(&wat::parse_str(wat).unwrap());
        let shared = "(component (component (core module (memory 1 1 shared))))";
        assert!(refuse(shared).is_err());
        assert!(refuse("(component (core module (memory 1 1)))").is_ok());
    }
}
