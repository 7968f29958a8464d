//! Random modules, what they are called with, and what is looked at afterwards.

use arbitrary::Unstructured;
use std::hash::{DefaultHasher, Hash, Hasher};
use wasmtime::*;

/// What a random module may have.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many imports there may be.
    pub imports: usize,
    /// References to the garbage-collected heap.
    pub gc: bool,
    pub exceptions: bool,
    /// Whether there is no instruction that traps.
    pub no_traps: bool,
    /// How many calls and iterations of loops there may be in all.
    pub steps: u32,
}

impl Shape {
    /// A module that exports everything, and ends. `None` if these choices make none.
    pub fn module(self, choices: &mut Unstructured<'_>) -> Option<Vec<u8>> {
        let config = wasm_smith::Config {
            min_funcs: 3,
            max_funcs: 8,
            max_imports: self.imports,
            export_everything: true,
            allow_start_export: false,
            max_memories: 2,
            max_memory32_bytes: 1 << 20,
            max_memory64_bytes: 1 << 20,
            max_tables: 2,
            // Most would be out of bounds, and the module not be instantiated.
            max_data_segments: 0,
            max_element_segments: 1,
            max_table_elements: 100,
            max_instructions: 300,
            canonicalize_nans: true,
            simd_enabled: true,
            relaxed_simd_enabled: false,
            tail_call_enabled: true,
            multi_value_enabled: true,
            bulk_memory_enabled: true,
            reference_types_enabled: true,
            gc_enabled: self.gc,
            exceptions_enabled: self.exceptions,
            disallow_traps: self.no_traps,
            threads_enabled: false,
            memory64_enabled: false,
            custom_page_sizes_enabled: false,
            wide_arithmetic_enabled: false,
            ..wasm_smith::Config::default()
        };
        let mut module = wasm_smith::Module::new(config, choices).ok()?;
        module.ensure_termination(self.steps).ok()?;
        Some(module.to_bytes())
    }
}

/// A value of this type, and `None` if there is none at hand.
pub fn argument(ty: &ValType, seed: u64) -> Option<Val> {
    Some(match ty {
        ValType::I32 => Val::I32(seed as i32),
        ValType::I64 => Val::I64(seed as i64),
        ValType::F32 => Val::F32((seed as f32).to_bits()),
        ValType::F64 => Val::F64((seed as f64).to_bits()),
        ValType::V128 => Val::V128(V128::from(u128::from(seed) * 0x1_0000_0001)),
        ValType::Ref(ty) if ty.is_nullable() => Val::null_ref(ty.heap_type()),
        ValType::Ref(_) => return None,
    })
}

/// A store in which nothing can grow without end.
pub fn limited_store(engine: &Engine) -> Store<StoreLimits> {
    let limits = StoreLimitsBuilder::new()
        .memory_size(2 << 20)
        .table_elements(1_000);
    let mut store = Store::new(engine, limits.build());
    store.limiter(|limits| limits);
    store
}

/// Numbers as their bits, so that they can be compared, `NaN`s included.
pub fn bits(values: &[Val]) -> Vec<u128> {
    let bits = |value: &Val| match value {
        Val::I32(n) => u128::from(*n as u32),
        Val::I64(n) => u128::from(*n as u64),
        Val::F32(n) => u128::from(*n),
        Val::F64(n) => u128::from(*n),
        Val::V128(n) => n.as_u128(),
        Val::FuncRef(r) => u128::from(r.is_some()),
        Val::ExternRef(r) => u128::from(r.is_some()),
        Val::AnyRef(r) => u128::from(r.is_some()),
        Val::ExnRef(r) => u128::from(r.is_some()),
        other => panic!("cannot be compared: {other:?}"),
    };
    values.iter().map(bits).collect()
}

/// A hash of all that an instance exports.
pub fn state(store: &mut Store<StoreLimits>, instance: Instance) -> u64 {
    let exports: Vec<Extern> = instance
        .exports(&mut *store)
        .map(Export::into_extern)
        .collect();
    let mut hash = DefaultHasher::new();
    for export in exports {
        match export {
            Extern::Memory(memory) => memory.data(&store).hash(&mut hash),
            Extern::Global(global) => bits(&[global.get(&mut *store)]).hash(&mut hash),
            Extern::Table(table) => {
                table.size(&store).hash(&mut hash);
                for i in 0..table.size(&store) {
                    let element = table.get(&mut *store, i).unwrap();
                    element.is_null().hash(&mut hash);
                }
            }
            _ => {}
        }
    }
    hash.finish()
}
