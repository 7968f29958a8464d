//! The values and types of components as text, in WAVE and WIT.

use crate::names;
use crate::values::{Value, comma_separated};
use console::truncate_str;
use wasmtime::component::wasm_wave::wasm::{DisplayType, WasmType, WasmTypeKind};
use wasmtime::component::{Type, Val};

/// The most characters of a type, an argument or a result where people read it.
const MOST: usize = 200;

/// How deep the example of a value is.
const DEPTH: usize = 4;

/// For where people read it.
pub fn cut(text: &str) -> String {
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
pub fn example(ty: &Type) -> String {
    example_to(ty, DEPTH)
}

fn example_to(ty: &Type, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return "…".to_string();
    };
    let of = |ty: &Type| example_to(ty, depth);
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
