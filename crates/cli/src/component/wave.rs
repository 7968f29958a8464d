//! The values of components as text, in WAVE: arguments in, results out.

use super::exports::Function;
use crate::guest::GuestSpec;
use crate::names;
use crate::values::{Value, comma_separated};
use console::truncate_str;
use std::error::Error as _;
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::{DisplayType, WasmType, WasmTypeKind, WasmValueError};
use wasmtime::component::{Type, Val};
use wasmtime::{Result, bail, format_err};

/// The most characters of a type, an argument or a result where people read it.
const MOST: usize = 200;

/// How deep the example of a value is.
const DEPTH: usize = 4;

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
        let examples = comma_separated(types.iter().map(|ty| example(ty, DEPTH)));
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

fn cut(text: &str) -> String {
    truncate_str(&names::name(text), MOST, "…").into_owned()
}

/// A type, as in WIT.
pub fn type_name(ty: &Type) -> String {
    let name = match ty {
        Type::Own(_) | Type::Borrow(_) => "resource".to_string(),
        ty => DisplayType(ty).to_string(),
    };
    cut(&name.replace("<<UNSUPPORTED>>", "resource"))
}

/// A value of this type.
fn example(ty: &Type, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return "…".to_string();
    };
    let of = |ty: &Type| example(ty, depth);
    let case = |name: &str, ty: Option<Type>| match ty {
        Some(ty) => format!("{name}({})", of(&ty)),
        None => name.to_string(),
    };
    let example = match ty {
        Type::Bool => "true".to_string(),
        Type::Float32 | Type::Float64 => "1.5".to_string(),
        Type::Char => "'a'".to_string(),
        Type::String => "\"text\"".to_string(),
        Type::List(list) => format!("[{}]", of(&list.ty())),
        Type::Record(record) => {
            let fields = record.fields();
            let fields = fields.map(|field| format!("{}: {}", field.name, of(&field.ty)));
            format!("{{{}}}", comma_separated(fields))
        }
        Type::Tuple(tuple) => {
            format!("({})", comma_separated(tuple.types().map(|ty| of(&ty))))
        }
        Type::Variant(variant) => match variant.cases().next() {
            Some(first) => case(first.name, first.ty),
            None => "…".to_string(),
        },
        Type::Enum(names) => names.names().next().unwrap_or("…").to_string(),
        Type::Option(option) => case("some", Some(option.ty())),
        Type::Result(result) => case("ok", result.ok()),
        Type::Flags(flags) => format!("{{{}}}", flags.names().next().unwrap_or_default()),
        ty if ty.kind() == WasmTypeKind::Unsupported => "…".to_string(),
        Type::FixedLengthList(_) => "…".to_string(),
        _ => "1".to_string(),
    };
    cut(&example)
}

/// A result: in WAVE, and for JSON a boolean, number or string if it is one, else in WAVE.
pub fn value(value: &Val) -> Value {
    let wave = match has_wave(value) {
        true => value.to_wave().unwrap_or_else(|error| error.to_string()),
        false => "a value with a resource".to_string(),
    };
    let json = match value {
        Val::Bool(value) => (*value).into(),
        Val::S8(value) => (*value).into(),
        Val::U8(value) => (*value).into(),
        Val::S16(value) => (*value).into(),
        Val::U16(value) => (*value).into(),
        Val::S32(value) => (*value).into(),
        Val::U32(value) => (*value).into(),
        Val::S64(value) => (*value).into(),
        Val::U64(value) => (*value).into(),
        Val::Float32(value) if value.is_finite() => (*value).into(),
        Val::Float64(value) if value.is_finite() => (*value).into(),
        Val::Char(value) => value.to_string().into(),
        Val::String(value) => value.clone().into(),
        _ => wave.clone().into(),
    };
    Value {
        text: cut(&wave),
        json,
    }
}

/// Whether WAVE has a form for it. Its writer panics at others.
fn has_wave(value: &Val) -> bool {
    let all = |values: &[Val]| values.iter().all(has_wave);
    let payload = |value: &Option<Box<Val>>| value.as_deref().is_none_or(has_wave);
    match value {
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => all(values),
        Val::Record(fields) => fields.iter().all(|(_, value)| has_wave(value)),
        Val::Variant(_, value) | Val::Option(value) => payload(value),
        Val::Result(Ok(value) | Err(value)) => payload(value),
        Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) => false,
        Val::ErrorContext(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_wave_and_plain_ones_also_in_json() {
        let shown = |val: Val| {
            let value = value(&val);
            (value.text, value.json.to_string())
        };
        let pair = |text: &str, json: &str| (text.to_string(), json.to_string());
        assert_eq!(shown(Val::S64(-5)), pair("-5", "-5"));
        assert_eq!(
            shown(Val::String("a\"b".into())),
            pair(r#""a\"b""#, r#""a\"b""#)
        );
        assert_eq!(shown(Val::Float64(f64::NAN)), pair("nan", "\"nan\""));
        let list = Val::List(vec![Val::Bool(true), Val::Bool(false)]);
        assert_eq!(shown(list), pair("[true, false]", "\"[true, false]\""));
        let record = Val::Record(vec![("a".into(), Val::Option(Some(Box::new(Val::U8(1)))))]);
        assert_eq!(shown(record).0, "{a: some(1)}");
    }

    #[test]
    fn long_results_are_cut_for_people_only() {
        let value = value(&Val::String("x".repeat(1000)));
        assert_eq!(value.text.chars().count(), MOST);
        assert_eq!(value.json.as_str().unwrap().len(), 1000);
    }

    #[test]
    fn values_without_a_form_do_not_panic() {
        let map = Val::Map(Vec::new());
        assert_eq!(value(&Val::List(vec![map])).text, "a value with a resource");
    }
}
