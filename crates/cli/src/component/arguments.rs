//! The arguments of a guest that calls a component's function: text in WAVE, to values.

use super::exports::Function;
use super::wave::{cut, example, type_name};
use crate::guest::GuestSpec;
use crate::names;
use crate::values::comma_separated;
use std::error::Error as _;
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::{WasmType, WasmTypeKind, WasmValueError};
use wasmtime::component::{Type, Val};
use wasmtime::{Result, bail, format_err};

/// The arguments of a guest for `function`.
///
/// # Errors
///
/// Says which argument is not of its type, and what would be.
pub fn arguments(spec: &GuestSpec, function: &Function) -> Result<Vec<Val>> {
    let written = match (&spec.written, &spec.args) {
        (Some(written), _) => written.clone(),
        // Of an argument that follows the file's name, quotes are the shell's to remove.
        (None, Some(args)) => args.join(", "),
        (None, None) => String::new(),
    };
    let guest = names::name(&spec.text);
    let signature = function.signature();
    let types: Vec<Type> = function.ty().params().map(|(_, ty)| ty).collect();
    let as_in = || {
        let examples = comma_separated(types.iter().map(example));
        let (file, name) = (names::path(&spec.file), function.typed());
        format!("as in `{file}:{name}({examples})`")
    };
    let call = format!("f({written})");
    let parsed = UntypedFuncCall::parse(&call).map_err(|error| {
        format_err!(
            "guest `{guest}`: the arguments of {signature} are not in WAVE: {}; write values of \
             components {}",
            problem(&error, &call),
            as_in()
        )
    })?;
    let given: Vec<&Node> = match parsed.params_node() {
        Some(node) => node.as_tuple().map(Iterator::collect).unwrap_or_default(),
        None => Vec::new(),
    };
    if let (None, Some(args)) = (&spec.written, &spec.args)
        && args.len() != given.len()
    {
        bail!(
            "guest `{guest}`: each argument after it is one value in WAVE, and `{}` makes {}; \
             write all of them {}",
            cut(&args.join(" ")),
            given.len(),
            as_in()
        );
    }
    let is_option = |ty: &Type| ty.kind() == WasmTypeKind::Option;
    let trailing = types.iter().rev().take_while(|ty| is_option(ty)).count();
    let needed = types.len() - trailing;
    if !(needed..=types.len()).contains(&given.len()) {
        bail!(
            "guest `{guest}` passes {} argument{} to {signature}, which takes {}; write {}",
            given.len(),
            if given.len() == 1 { "" } else { "s" },
            types.len(),
            as_in()
        );
    }
    let mut values = Vec::new();
    for (index, ty) in types.iter().enumerate() {
        let Some(node) = given.get(index) else {
            values.push(Val::Option(None));
            continue;
        };
        let value = node.to_wasm_value::<Val>(ty, &call).map_err(|error| {
            format_err!(
                "guest `{guest}`: argument {} of {signature} is `{}`, which is not of type {}{}; \
                 write {}",
                index + 1,
                cut(&call[node.span()]),
                type_name(ty),
                reason(&error),
                as_in()
            )
        })?;
        values.push(value);
    }
    Ok(values)
}

/// What is wrong, and where in `call`.
fn problem(error: &ParserError, call: &str) -> String {
    // Its details are names of the parser's own.
    let what = error.kind();
    // The last parenthesis is not the user's.
    match call.get(error.span()) {
        Some(at) if !at.is_empty() && error.span().end < call.len() => {
            format!("{what} at `{}`", cut(at))
        }
        _ => format!("{what} at the end"),
    }
}

fn reason(error: &ParserError) -> String {
    match error.source().and_then(|source| source.downcast_ref()) {
        // That it is of another type is said already.
        Some(WasmValueError::WrongValueType { .. }) | None => String::new(),
        Some(other) => format!(" ({})", names::name(&other.to_string())),
    }
}
