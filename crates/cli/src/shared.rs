//! Shared memories that a module defines itself. Nobody but the guests of this process
//! can notify those who wait there, and the Store is to know that: it would wait for
//! ever where it could report a deadlock. A host finds them by their exports, and
//! nothing but their maximum limits them, so both are changed before a module is
//! compiled.

use crate::wasi::Host;
use indicatif::BinaryBytes;
use std::collections::HashSet;
use wasm_encoder::{Encode, ExportKind, MemorySection, MemoryType, Module, RawSection, SectionId};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Extern, Instance, Result, Store, bail};

/// The module with each shared memory that it defines exported, and limited to `limit`
/// bytes in all. `None` if it defines none, or is none: that is for its compiler to say.
///
/// # Errors
///
/// If they are larger than `limit` from the beginning.
pub fn own(binary: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
    // Components have modules in them.
    if !Parser::is_core_wasm(binary) {
        return Ok(None);
    }
    let Ok(found) = Found::in_module(binary) else {
        return Ok(None);
    };
    let shared: Vec<_> = found
        .memories
        .iter()
        .filter(|memory| memory.shared)
        .collect();
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
            "its shared memory has at least {}, and the guest may have {} of memory; \
             --memory-limit gives it more",
            BinaryBytes(least),
            BinaryBytes(limit)
        );
    };
    Ok(found.encode(binary, left / shared.len() as u64).ok())
}

fn page_size(memory: &wasmparser::MemoryType) -> u64 {
    1u64.checked_shl(memory.page_size_log2.unwrap_or(16))
        .unwrap_or(u64::MAX)
}

/// What has to be known of a module.
#[derive(Default)]
struct Found {
    imported: u32,
    memories: Vec<wasmparser::MemoryType>,
    exported: HashSet<u32>,
    names: HashSet<String>,
}

impl Found {
    fn in_module(binary: &[u8]) -> wasmparser::Result<Found> {
        let mut found = Found::default();
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if let TypeRef::Memory(_) = import?.ty {
                            found.imported += 1;
                        }
                    }
                }
                Payload::MemorySection(memories) => {
                    found.memories = memories.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        found.names.insert(export.name.to_string());
                        if export.kind == ExternalKind::Memory {
                            found.exported.insert(export.index);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// `spare` is for how many bytes each shared memory may grow.
    fn encode(&self, binary: &[u8], spare: u64) -> wasmparser::Result<Vec<u8>> {
        let mut module = Module::new();
        let mut exports = Some(self.exports());
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            let Some((id, range)) = payload.as_section() else {
                continue;
            };
            let is_after_exports = id > SectionId::Export as u8 && id != SectionId::Tag as u8;
            if let Payload::ExportSection(section) = &payload {
                let (count, more) = exports.take().unwrap_or_default();
                let mut data = Vec::new();
                (section.count() + count).encode(&mut data);
                // What follows the count, which is as long as it was encoded.
                let entries = section.original_position();
                data.extend_from_slice(&binary[entries..range.end]);
                data.extend(more);
                section_of(&mut module, id, &data);
                continue;
            }
            if is_after_exports && let Some((count, more)) = exports.take() {
                let mut data = Vec::new();
                count.encode(&mut data);
                data.extend(more);
                section_of(&mut module, SectionId::Export as u8, &data);
            }
            match payload {
                Payload::MemorySection(_) => module.section(&self.capped(spare)),
                _ => section_of(&mut module, id, &binary[range]),
            };
        }
        if let Some((count, more)) = exports {
            let mut data = Vec::new();
            count.encode(&mut data);
            data.extend(more);
            section_of(&mut module, SectionId::Export as u8, &data);
        }
        Ok(module.finish())
    }

    /// The number of the exports to add, and their code.
    fn exports(&self) -> (u32, Vec<u8>) {
        let (mut count, mut code) = (0, Vec::new());
        for (memory, index) in self.memories.iter().zip(self.imported..) {
            if !memory.shared || self.exported.contains(&index) {
                continue;
            }
            let mut name = format!("shared memory {index}");
            while self.names.contains(&name) {
                name.push('\'');
            }
            name.encode(&mut code);
            ExportKind::Memory.encode(&mut code);
            index.encode(&mut code);
            count += 1;
        }
        (count, code)
    }

    fn capped(&self, spare: u64) -> MemorySection {
        let mut section = MemorySection::new();
        for memory in &self.memories {
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
}

fn section_of<'a>(module: &'a mut Module, id: u8, data: &[u8]) -> &'a mut Module {
    module.section(&RawSection { id, data })
}

/// Tells the store of the shared memories of an instance.
pub fn declare(store: &mut Store<Host>, instance: Instance) -> Result<()> {
    let exports = instance.exports(&mut *store);
    let memories: Vec<_> = exports
        .filter_map(|export| match export.into_extern() {
            Extern::SharedMemory(memory) => Some(memory),
            _ => None,
        })
        .collect();
    memories
        .iter()
        .try_for_each(|memory| store.wasm_threads_own_memory(memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Engine};

    /// The shared memories that the changed module exports, with their maximum.
    fn exports(wat: &str, limit: u64) -> Vec<(String, u64)> {
        let binary = own(&wat::parse_str(wat).unwrap(), limit).unwrap().unwrap();
        let engine = Engine::new(Config::new().shared_memory(true)).unwrap();
        let module = wasmtime::Module::new(&engine, binary).unwrap();
        let exports = module.exports();
        let memories = exports.filter_map(|export| {
            let ty = export.ty().memory()?.clone();
            Some((export.name().to_string(), ty.maximum().unwrap()))
        });
        memories.collect()
    }

    fn one(name: &str, maximum: u64) -> Vec<(String, u64)> {
        vec![(name.to_string(), maximum)]
    }

    #[test]
    fn shared_memories_are_exported_and_capped() {
        let wat = "(module (memory 1 10 shared))";
        assert_eq!(exports(wat, u64::MAX), one("shared memory 0", 10));
        assert_eq!(exports(wat, 3 << 16), one("shared memory 0", 3));

        let wat = r#"(module (global i32 (i32.const 1)) (memory 1 10 shared)
            (func $start) (func (export "shared memory 0")) (start $start)
            (data (i32.const 0) "x"))"#;
        assert_eq!(exports(wat, u64::MAX), one("shared memory 0'", 10));

        let wat = r#"(module (memory (export "m") 1 10 shared) (data (i32.const 0) "x"))"#;
        assert_eq!(exports(wat, 2 << 16), one("m", 2));

        let wat = r#"(module (tag) (memory 1 10 shared) (memory 2 10 shared) (memory 1))"#;
        let both = exports(wat, 7 << 16);
        assert_eq!(both[0], ("shared memory 0".to_string(), 3));
        assert_eq!(both[1], ("shared memory 1".to_string(), 4));
    }

    #[test]
    fn other_modules_stay_as_they_are() {
        for wat in [
            "(module)",
            "(component (core module (memory 1 1 shared)))",
            r#"(module (import "env" "m" (memory 1 1 shared)))"#,
        ] {
            assert!(own(&wat::parse_str(wat).unwrap(), 0).unwrap().is_none());
        }
        assert!(own(b"\0asm\x01\0\0\0\xff\xff", 0).unwrap().is_none());
    }

    #[test]
    fn memory_that_is_too_large_from_the_beginning_is_an_error() {
        let wat = wat::parse_str("(module (memory 2 10 shared))").unwrap();
        let error = own(&wat, 1 << 16).unwrap_err().to_string();
        for part in ["128.00 KiB", "64.00 KiB", "--memory-limit"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
