//! Which functions poll for safepoints: those that may hold references to the GC heap.
//!
//! A function that holds none can be suspended at any instruction: the stack maps of its callers,
//! which are at calls, tell of all references on the stack. One that may hold some can only be
//! suspended where it has a stack map itself, and so polls for that at its entry and in its loops.
//!
//! Holding one takes more than an operand: what is allocated is initialized in several steps, and
//! what is overwritten has to be counted or remembered.
//!
//! A function polls as well if it adds elements to a table of non-nullable references. They are
//! null until compiled code has filled them, and nobody else may see that.
//!
//! Types are told apart by their hierarchies alone. That counts `i31ref`, which refers to nothing,
//! but what is of type `nullref` may be used as one.

use crate::func_environ::FuncEnvironment;
use wasmparser::{AbstractHeapType, FunctionBody, HeapType, Operator, UnpackedIndex, ValType};
use wasmtime_environ::{
    EngineOrModuleTypeIndex, FuncIndex, GlobalIndex, Table, TableIndex, TypeIndex, WasmFuncType,
    WasmResult,
};

/// Whether a function of this type, with this body, can only be suspended at calls.
///
/// The body has not been validated yet. If it's invalid, the answer doesn't matter.
pub(crate) fn must_poll(
    env: &FuncEnvironment<'_>,
    ty: &WasmFuncType,
    body: &FunctionBody<'_>,
) -> WasmResult<bool> {
    if mentions_references(ty) {
        return Ok(true);
    }
    for local in body.get_locals_reader()? {
        let (_, ty) = local?;
        if is_reference(env, ty) {
            return Ok(true);
        }
    }
    for operator in body.get_operators_reader()? {
        let operator = operator?;
        if handles_references(env, &operator) || leaves_nulls(env, &operator) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mentions_references(ty: &WasmFuncType) -> bool {
    let mut types = ty.params().iter().chain(ty.results());
    types.any(|ty| ty.is_vmgcref_type())
}

/// Whether values of type `ty` are references to the GC heap, or may be.
fn is_reference(env: &FuncEnvironment<'_>, ty: ValType) -> bool {
    let ValType::Ref(ty) = ty else {
        return false;
    };
    match ty.heap_type() {
        HeapType::Abstract { ty, .. } => !matches!(
            ty,
            AbstractHeapType::Func
                | AbstractHeapType::NoFunc
                | AbstractHeapType::Cont
                | AbstractHeapType::NoCont
        ),
        HeapType::Concrete(UnpackedIndex::Module(index)) => {
            function_type(env, TypeIndex::from_u32(index)).is_none()
        }
        _ => true,
    }
}

/// The function type that has this index, if it is one.
fn function_type<'a>(env: &'a FuncEnvironment<'_>, index: TypeIndex) -> Option<&'a WasmFuncType> {
    match env.module.types.get(index)? {
        EngineOrModuleTypeIndex::Module(index) => env.wasm_function_type(*index),
        _ => None,
    }
}

/// Whether `operator` takes, makes or returns such references.
///
/// Those which pass on what they are given, as `select` does, don't count: some other operator, a
/// local or a parameter has brought it in. `ref.null` brings in nothing to trace.
fn handles_references(env: &FuncEnvironment<'_>, operator: &Operator<'_>) -> bool {
    // What isn't there, or is of another kind, may be anything.
    let of_function = |ty: Option<&WasmFuncType>| ty.is_none_or(mentions_references);
    match operator {
        Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
            let function = env
                .module
                .functions
                .get(FuncIndex::from_u32(*function_index));
            of_function(function.and_then(|function| {
                env.wasm_function_type(function.signature.unwrap_module_type_index())
            }))
        }
        Operator::CallIndirect { type_index, .. }
        | Operator::ReturnCallIndirect { type_index, .. }
        | Operator::CallRef { type_index }
        | Operator::ReturnCallRef { type_index } => {
            of_function(function_type(env, TypeIndex::from_u32(*type_index)))
        }
        Operator::GlobalGet { global_index } | Operator::GlobalSet { global_index } => {
            let global = env.module.globals.get(GlobalIndex::from_u32(*global_index));
            global.is_none_or(|global| global.wasm_ty.is_vmgcref_type())
        }
        // What is copied into a table is of the same hierarchy.
        Operator::TableGet { table: index }
        | Operator::TableSet { table: index }
        | Operator::TableGrow { table: index }
        | Operator::TableFill { table: index }
        | Operator::TableInit { table: index, .. }
        | Operator::TableCopy {
            dst_table: index, ..
        } => table(env, *index).is_none_or(|table| table.ref_type.is_vmgcref_type()),
        _ => is_of_gc(operator),
    }
}

/// Whether `operator` adds null elements, for a moment, to a table that must have none.
fn leaves_nulls(env: &FuncEnvironment<'_>, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::TableGrow { table: index } => {
            table(env, *index).is_none_or(|table| !table.ref_type.nullable)
        }
        _ => false,
    }
}

fn table<'a>(env: &'a FuncEnvironment<'_>, index: u32) -> Option<&'a Table> {
    env.module.tables.get(TableIndex::from_u32(index))
}

/// Whether `operator` belongs to a proposal whose values are on the GC heap.
fn is_of_gc(operator: &Operator<'_>) -> bool {
    macro_rules! is_of_gc {
        ($( @$proposal:ident $op:ident $({ $($payload:tt)* })? => $visit:ident ($($arity:tt)*) )*) => {
            match operator {
                $( Operator::$op { .. } => proposal_is_of_gc(stringify!($proposal)), )*
                // What is unknown may be anything.
                _ => true,
            }
        };
    }
    wasmparser::for_each_operator!(is_of_gc)
}

fn proposal_is_of_gc(proposal: &str) -> bool {
    matches!(
        proposal,
        "gc" | "custom_descriptors"
            | "exceptions"
            | "legacy_exceptions"
            | "stack_switching"
            | "shared_everything_threads"
    )
}
