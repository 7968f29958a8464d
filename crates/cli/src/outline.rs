//! A module without its code: what it imports and exports, long before it is compiled.
//!
//! ```text
//!   module:   types  imports                        functions  exports
//!   outline:  types  imports, exported functions ------------> exports
//! ```
//!
//! An outline imports the functions that its module defines and exports, so there is nothing
//! to compile. Other definitions that are exported have their kind, but not their type.

use std::collections::BTreeMap;
use wasm_encoder::{
    ConstExpr, Encode, EntityType, ExportKind, ExportSection, GlobalSection, GlobalType,
    ImportSection, MemorySection, MemoryType, RawSection, RefType, SectionId, TableSection,
    TableType, TagKind, TagSection, TagType, ValType,
};
use wasmparser::{BinaryReader, Export, ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Engine, ImportType, Module};

/// The module of the imports that are exported functions.
const DEFINED: &str = "defined function";

/// What a module imports and exports.
#[derive(Clone)]
pub struct Outline {
    pub module: Module,
    /// How many of the imports are the guest's. The others follow.
    imports: usize,
}

impl Outline {
    /// The outline of the module `binary`. `None` if it is not valid for `engine`, which
    /// its compiler will report.
    pub fn of(engine: &Engine, binary: &[u8]) -> Option<Outline> {
        let parts = Parts::of(binary).ok()?;
        let module = Module::new(engine, parts.outline()?).ok()?;
        Some(Outline {
            module,
            imports: parts.imports,
        })
    }

    /// The imports of the guest.
    pub fn imports(&self) -> impl Iterator<Item = ImportType<'_>> {
        self.module.imports().take(self.imports)
    }
}

impl From<Module> for Outline {
    fn from(module: Module) -> Outline {
        Outline {
            imports: module.imports().count(),
            module,
        }
    }
}

/// The parts of a module that outlines are made of.
#[derive(Default)]
struct Parts<'a> {
    types: Option<&'a [u8]>,
    import_section: Option<&'a [u8]>,
    imports: usize,
    /// How many of the imports are of each kind.
    functions: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    tags: u32,
    /// The types of the functions and tags that it defines.
    function_types: Vec<u32>,
    tag_types: Vec<u32>,
    exports: Vec<Export<'a>>,
}

impl<'a> Parts<'a> {
    fn of(binary: &'a [u8]) -> wasmparser::Result<Parts<'a>> {
        let mut parts = Parts::default();
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::TypeSection(types) => parts.types = Some(&binary[types.range()]),
                Payload::ImportSection(imports) => {
                    parts.import_section = Some(&binary[imports.range()]);
                    for import in imports.into_imports() {
                        parts.imports += 1;
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => parts.functions += 1,
                            TypeRef::Table(_) => parts.tables += 1,
                            TypeRef::Memory(_) => parts.memories += 1,
                            TypeRef::Global(_) => parts.globals += 1,
                            TypeRef::Tag(_) => parts.tags += 1,
                        }
                    }
                }
                Payload::FunctionSection(types) => {
                    parts.function_types = types.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::TagSection(tags) => {
                    let types = tags.into_iter().map(|tag| Ok(tag?.func_type_idx));
                    parts.tag_types = types.collect::<wasmparser::Result<_>>()?;
                }
                Payload::ExportSection(exports) => {
                    parts.exports = exports.into_iter().collect::<Result<_, _>>()?;
                }
                // The rest is code and data.
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(parts)
    }

    /// The outline as a module. `None` if an index is out of bounds.
    fn outline(&self) -> Option<Vec<u8>> {
        // The functions to import, by the index that they have in the module.
        let mut defined = BTreeMap::new();
        let mut imported = ImportSection::new();
        let (mut tables, mut memories) = (TableSection::new(), MemorySection::new());
        let (mut tags, mut globals) = (TagSection::new(), GlobalSection::new());
        let mut exports = ExportSection::new();
        for Export { name, kind, index } in &self.exports {
            let index = *index;
            let (kind, index) = match kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    let new = match index.checked_sub(self.functions) {
                        None => index,
                        Some(nth) => {
                            let next = self.functions + imported.len();
                            let ty = *self.function_types.get(nth as usize)?;
                            *defined.entry(nth).or_insert_with(|| {
                                let ty = EntityType::Function(ty);
                                imported.import(DEFINED, &nth.to_string(), ty);
                                next
                            })
                        }
                    };
                    (ExportKind::Func, new)
                }
                ExternalKind::Table if index < self.tables => (ExportKind::Table, index),
                ExternalKind::Table => {
                    tables.table(TABLE);
                    (ExportKind::Table, self.tables + tables.len() - 1)
                }
                ExternalKind::Memory if index < self.memories => (ExportKind::Memory, index),
                ExternalKind::Memory => {
                    memories.memory(MEMORY);
                    (ExportKind::Memory, self.memories + memories.len() - 1)
                }
                ExternalKind::Global if index < self.globals => (ExportKind::Global, index),
                ExternalKind::Global => {
                    globals.global(GLOBAL, &ConstExpr::i32_const(0));
                    (ExportKind::Global, self.globals + globals.len() - 1)
                }
                ExternalKind::Tag if index < self.tags => (ExportKind::Tag, index),
                ExternalKind::Tag => {
                    let nth = (index - self.tags) as usize;
                    tags.tag(TagType {
                        kind: TagKind::Exception,
                        func_type_idx: *self.tag_types.get(nth)?,
                    });
                    (ExportKind::Tag, self.tags + tags.len() - 1)
                }
            };
            exports.export(name, kind, index);
        }
        let mut module = wasm_encoder::Module::new();
        let mut raw = |id: SectionId, data: &[u8]| {
            let id = id as u8;
            module.section(&RawSection { id, data });
        };
        if let Some(types) = self.types {
            raw(SectionId::Type, types);
        }
        raw(SectionId::Import, &joined(self.import_section, &imported)?);
        module.section(&tables);
        module.section(&memories);
        // Even an empty one is an error where there are no exceptions.
        if !tags.is_empty() {
            module.section(&tags);
        }
        module.section(&globals);
        module.section(&exports);
        Some(module.finish())
    }
}

/// The contents of an import section with all imports of both.
fn joined(first: Option<&[u8]>, second: &ImportSection) -> Option<Vec<u8>> {
    /// The length of a section, as it is before its contents.
    fn contents(section: &ImportSection) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        section.encode(&mut bytes);
        let mut reader = BinaryReader::new(&bytes, 0);
        reader.read_var_u32().ok()?;
        Some(bytes.split_off(reader.current_position()))
    }
    let second = contents(second)?;
    let Some(first) = first else {
        return Some(second);
    };
    let (mut count, mut entries) = (0_u32, Vec::new());
    for part in [first, &second] {
        let mut reader = BinaryReader::new(part, 0);
        count = count.checked_add(reader.read_var_u32().ok()?)?;
        entries.extend_from_slice(&part[reader.current_position()..]);
    }
    let mut all = Vec::new();
    count.encode(&mut all);
    all.extend(entries);
    Some(all)
}

const TABLE: TableType = TableType {
    element_type: RefType::FUNCREF,
    table64: false,
    minimum: 0,
    maximum: None,
    shared: false,
};

const MEMORY: MemoryType = MemoryType {
    minimum: 0,
    maximum: None,
    memory64: false,
    shared: false,
    page_size_log2: None,
};

const GLOBAL: GlobalType = GlobalType {
    val_type: ValType::I32,
    mutable: false,
    shared: false,
};

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, ExternType, WasmFeatures};

    fn engine() -> Engine {
        Engine::new(Config::new().shared_memory(true)).unwrap()
    }

    #[test]
    fn outline_needs_no_feature_that_its_module_does_not_need() {
        let mut config = Config::new();
        let engine = Engine::new(config.wasm_features(WasmFeatures::EXCEPTIONS, false)).unwrap();
        let wat = r#"(module (import "a" "f" (func (param i32))) (func (export "g"))
            (memory (export "m") 1) (table (export "t") 1 funcref)
            (global (export "i") f32 (f32.const 0)))"#;
        let binary = wat::parse_str(wat).unwrap();
        assert!(Outline::of(&engine, &binary).is_some());
    }

    #[test]
    fn outline_has_what_the_module_imports_and_exports() {
        let wat = r#"(module
            (type $t (func (param i32) (result f64)))
            (import "a" "f" (func $f (param i64)))
            (import "a" "m" (memory 1 2 shared))
            (import "b" "g" (global $g i32))
            (func $unused)
            (func $h (export "h") (export "again") (type $t) (f64.const 1))
            (func (export "k") (param v128))
            (tag (export "tag") (param i32))
            (table (export "table") 1 (ref null func) (ref.func $h))
            (memory (export "memory") 1)
            (global (export "global") funcref (ref.func $h))
            (export "f" (func $f)) (export "g" (global $g))
            (start $unused) (elem func $h) (data "x"))"#;
        let binary = wat::parse_str(wat).unwrap();
        let engine = engine();
        let module = Module::new(&engine, &binary).unwrap();
        let outline = Outline::of(&engine, &binary).unwrap();
        let imports = |of: &mut dyn Iterator<Item = ImportType<'_>>| {
            let all = of.map(|i| format!("{} {} {:?}", i.module(), i.name(), i.ty()));
            all.collect::<Vec<_>>()
        };
        assert_eq!(
            imports(&mut outline.imports()),
            imports(&mut module.imports())
        );
        let exports = |module: &Module| {
            let exports = module.exports().map(|export| {
                let kind = match export.ty() {
                    ExternType::Func(ty) => ty.to_string(),
                    ExternType::Global(_) => "global".to_string(),
                    ExternType::Table(_) => "table".to_string(),
                    ExternType::Memory(_) => "memory".to_string(),
                    ExternType::Tag(_) => "tag".to_string(),
                };
                (export.name().to_string(), kind)
            });
            exports.collect::<Vec<_>>()
        };
        assert_eq!(exports(&outline.module), exports(&module));
    }

    #[test]
    fn module_without_imports_has_an_outline() {
        let binary = wat::parse_str(r#"(module (func (export "f")))"#).unwrap();
        let outline = Outline::of(&engine(), &binary).unwrap();
        assert_eq!(outline.imports().count(), 0);
        assert_eq!(outline.module.exports().count(), 1);
        let binary = wat::parse_str("(module)").unwrap();
        assert!(Outline::of(&engine(), &binary).is_some());
    }

    #[test]
    fn invalid_module_has_none() {
        for binary in [&b"\0asm\x01\0\0\0\xff\xff"[..], b"", b"\x7fELF"] {
            assert!(Outline::of(&engine(), binary).is_none());
        }
        // An export of a function that is not there.
        let binary = b"\0asm\x01\0\0\0\x07\x05\x01\x01f\0\x05";
        assert!(Outline::of(&engine(), binary).is_none());
    }
}
