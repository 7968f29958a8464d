//! Shared memories that a module defines itself. Only their maximum limits them, so it is
//! lowered before the module is compiled.

use indicatif::BinaryBytes;
use wasm_encoder::{MemorySection, MemoryType, Module, RawSection};
use wasmparser::{Parser, Payload};
use wasmtime::{Result, bail};

/// The module, with the shared memories it defines limited to `limit` bytes in all. `None`
/// if it defines none, or is not a module, which its compiler will report.
///
/// # Errors
///
/// If they exceed `limit` from the start.
pub fn capped(binary: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
    // Components contain modules.
    if !Parser::is_core_wasm(binary) {
        return Ok(None);
    }
    let Ok(memories) = memories(binary) else {
        return Ok(None);
    };
    let shared: Vec<_> = memories.iter().filter(|memory| memory.shared).collect();
    if shared.is_empty() {
        return Ok(None);
    }
    let least = shared.iter().map(|memory| {
        let bytes = memory.initial.checked_mul(page_size(memory));
        bytes.unwrap_or(u64::MAX)
    });
    let least = least.fold(0, u64::saturating_add);
    let Some(left) = limit.checked_sub(least) else {
        bail!(
            "its shared memory needs {}, and the guest is limited to {} of memory; \
             use --memory-limit to allow more",
            BinaryBytes(least),
            BinaryBytes(limit)
        );
    };
    let section = section(&memories, left / shared.len() as u64);
    Ok(with_memories(binary, &section).ok())
}

fn page_size(memory: &wasmparser::MemoryType) -> u64 {
    1u64.checked_shl(memory.page_size_log2.unwrap_or(16))
        .unwrap_or(u64::MAX)
}

/// The shared memories that the module defines.
fn memories(binary: &[u8]) -> wasmparser::Result<Vec<wasmparser::MemoryType>> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(binary) {
        if let Payload::MemorySection(memories) = payload? {
            found = memories.into_iter().collect::<Result<_, _>>()?;
        }
    }
    Ok(found)
}

/// Builds the memory section. Each shared memory may grow by `spare` bytes.
fn section(memories: &[wasmparser::MemoryType], spare: u64) -> MemorySection {
    let mut section = MemorySection::new();
    for memory in memories {
        let most = memory.initial.saturating_add(spare / page_size(memory));
        section.memory(MemoryType {
            minimum: memory.initial,
            maximum: memory.maximum.map(|maximum| match memory.shared {
                true => maximum.min(most),
                false => maximum,
            }),
            memory64: memory.memory64,
            shared: memory.shared,
            page_size_log2: memory.page_size_log2,
        });
    }
    section
}

fn with_memories(binary: &[u8], memories: &MemorySection) -> wasmparser::Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload?;
        match (&payload, payload.as_section()) {
            (Payload::MemorySection(_), _) => {
                module.section(memories);
            }
            (_, Some((id, range))) => {
                let data = &binary[range];
                module.section(&RawSection { id, data });
            }
            (_, None) => {}
        }
    }
    Ok(module.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Engine};

    /// The maximums of the exported memories of the changed module.
    fn maximums(wat: &str, limit: u64) -> Vec<u64> {
        let binary = capped(&wat::parse_str(wat).unwrap(), limit);
        let engine = Engine::new(Config::new().shared_memory(true)).unwrap();
        let module = wasmtime::Module::new(&engine, binary.unwrap().unwrap()).unwrap();
        let exports = module.exports();
        let memories = exports.filter_map(|export| export.ty().memory()?.maximum());
        memories.collect()
    }

    #[test]
    fn shared_memories_are_capped() {
        let wat = r#"(module (memory (export "m") 1 10 shared))"#;
        assert_eq!(maximums(wat, u64::MAX), [10]);
        assert_eq!(maximums(wat, 3 << 16), [3]);

        let wat = r#"(module (global i32 (i32.const 1)) (memory (export "m") 1 10 shared)
            (func $start) (start $start) (data (i32.const 0) "x"))"#;
        assert_eq!(maximums(wat, 2 << 16), [2]);

        let wat = r#"(module (tag) (memory (export "a") 1 10 shared)
            (memory (export "b") 2 10 shared) (memory (export "c") 1 10))"#;
        assert_eq!(maximums(wat, 7 << 16), [3, 4, 10]);
    }

    #[test]
    fn other_modules_stay_as_they_are() {
        for wat in [
            "(module)",
            "(component (core module (memory 1 1 shared)))",
            r#"(module (import "env" "m" (memory 1 1 shared)))"#,
        ] {
            assert!(capped(&wat::parse_str(wat).unwrap(), 0).unwrap().is_none());
        }
        assert!(capped(b"\0asm\x01\0\0\0\xff\xff", 0).unwrap().is_none());
    }

    #[test]
    fn memory_that_is_too_large_from_the_beginning_is_an_error() {
        let wat = wat::parse_str("(module (memory 2 10 shared))").unwrap();
        let error = capped(&wat, 1 << 16).unwrap_err().to_string();
        for part in ["128.00 KiB", "64.00 KiB", "--memory-limit"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
