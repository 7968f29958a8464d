//! Which functions may hold references to the GC heap.
//!
//! A function that holds none can be suspended at any instruction: the stack maps of its callers,
//! which are at calls, tell of all references on the stack. One that may hold some can only be
//! suspended where it has a stack map itself, and so polls for that at its entry and in its loops.
//!
//! Holding one takes more than an operand: what is allocated is initialized in several steps, and
//! what is overwritten has to be counted or remembered.

use crate::func_environ::FuncEnvironment;
use wasmparser::{FunctionBody, Operator};
use wasmtime_environ::{
    FuncIndex, GlobalIndex, TableIndex, TypeConvert, TypeIndex, WasmFuncType, WasmResult,
};

/// Whether a function of this type, with this body, may hold a reference to the GC heap.
pub(crate) fn may_hold_references(
    env: &FuncEnvironment<'_>,
    ty: &WasmFuncType,
    body: &FunctionBody<'_>,
) -> WasmResult<bool> {
    if mentions_references(ty) {
        return Ok(true);
    }
    for local in body.get_locals_reader()? {
        let (_, ty) = local?;
        if env.convert_valtype(ty)?.is_vmgcref_type_and_not_i31() {
            return Ok(true);
        }
    }
    for operator in body.get_operators_reader()? {
        if handles_references(env, &operator?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mentions_references(ty: &WasmFuncType) -> bool {
    let mut types = ty.params().iter().chain(ty.results());
    types.any(|ty| ty.is_vmgcref_type_and_not_i31())
}

/// Whether `operator` takes, makes or returns such references.
///
/// Those which pass on what they are given, as `select` does, don't count: some other operator, a
/// local or a parameter has brought it in. `ref.null` brings in nothing to trace.
fn handles_references(env: &FuncEnvironment<'_>, operator: &Operator<'_>) -> bool {
    let of_function = |ty| mentions_references(env.wasm_function_type(ty));
    let of_table = |table: &u32| {
        let table = &env.module.tables[TableIndex::from_u32(*table)];
        table.ref_type.is_vmgcref_type_and_not_i31()
    };
    match operator {
        Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
            let function = &env.module.functions[FuncIndex::from_u32(*function_index)];
            of_function(function.signature.unwrap_module_type_index())
        }
        Operator::CallIndirect { type_index, .. }
        | Operator::ReturnCallIndirect { type_index, .. }
        | Operator::CallRef { type_index }
        | Operator::ReturnCallRef { type_index } => {
            let ty = env.module.types[TypeIndex::from_u32(*type_index)];
            of_function(ty.unwrap_module_type_index())
        }
        Operator::GlobalGet { global_index } | Operator::GlobalSet { global_index } => {
            let global = &env.module.globals[GlobalIndex::from_u32(*global_index)];
            global.wasm_ty.is_vmgcref_type_and_not_i31()
        }
        Operator::TableGet { table }
        | Operator::TableSet { table }
        | Operator::TableGrow { table }
        | Operator::TableFill { table }
        | Operator::TableInit { table, .. }
        | Operator::TableCopy {
            dst_table: table, ..
        } => of_table(table),
        _ => is_of_gc(operator),
    }
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
