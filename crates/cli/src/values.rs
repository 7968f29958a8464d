//! WebAssembly values as text: arguments in, results out. Those of components are in WAVE: see
//! [`wave`](crate::component::wave).

use crate::guest;
use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use wasmtime::{FuncType, Result, Val, ValType, bail, format_err};

/// Parses `text` as a value of type `ty`.
///
/// # Errors
///
/// Says what the type accepts, phrased to follow "argument 1 is".
pub fn parse(ty: &ValType, text: &str) -> Result<Val> {
    // As in the text format, an integer may be given as signed or unsigned.
    Ok(match ty {
        ValType::I32 => Val::I32(integer(text, ty, i32::MIN.into()..=u32::MAX.into())? as i32),
        ValType::I64 => Val::I64(integer(text, ty, i64::MIN.into()..=u64::MAX.into())? as i64),
        ValType::F32 => {
            let value: f32 = float(text, ty)?;
            not_rounded_to_infinity(text, ty, value.is_infinite())?;
            Val::F32(value.to_bits())
        }
        ValType::F64 => {
            let value: f64 = float(text, ty)?;
            not_rounded_to_infinity(text, ty, value.is_infinite())?;
            Val::F64(value.to_bits())
        }
        ValType::V128 | ValType::Ref(_) => bail!(
            "of type {ty}, which cannot be given on the command line; \
             i32, i64, f32 and f64 can"
        ),
    })
}

fn integer(text: &str, ty: &ValType, range: RangeInclusive<i128>) -> Result<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None => (10, digits),
    };
    // `from_str_radix` would accept a second sign.
    let value = match digits.starts_with(['-', '+']) {
        true => None,
        false => i128::from_str_radix(&digits.replace('_', ""), radix).ok(),
    };
    value
        .map(|value| if negative { -value } else { value })
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            format_err!(
                "`{text}`, which is not an {ty}; give a whole number from {} to {}, \
                 decimal or hex (0x1f)",
                range.start(),
                range.end()
            )
        })
}

fn float<F: std::str::FromStr>(text: &str, ty: &ValType) -> Result<F> {
    text.parse().map_err(|_| {
        format_err!("`{text}`, which is not an {ty}; give a number such as 1.5, -2e10, inf or nan")
    })
}

fn not_rounded_to_infinity(text: &str, ty: &ValType, infinite: bool) -> Result<()> {
    if infinite && text.contains(|c: char| c.is_ascii_digit()) {
        bail!("`{text}`, which is too large for an {ty}; `inf` is infinity");
    }
    Ok(())
}

/// `name(i32, i64) -> f64`, with the name written as a user must type it.
pub fn signature(name: &str, ty: &FuncType) -> String {
    let name = guest::typed_export(name);
    let mut text = format!("{name}({})", comma_separated(ty.params()));
    match ty.results().len() {
        0 => Ok(()),
        1 => write!(text, " -> {}", comma_separated(ty.results())),
        _ => write!(text, " -> ({})", comma_separated(ty.results())),
    }
    .expect("writing to a string cannot fail");
    text
}

/// The items, with `, ` between them.
pub fn comma_separated(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

/// A result of any guest, for the table and for `--json`.
#[derive(Clone, Debug)]
pub struct Value {
    pub text: String,
    pub json: serde_json::Value,
}

impl From<&Val> for Value {
    fn from(value: &Val) -> Value {
        Value {
            text: show(value),
            json: json(value),
        }
    }
}

/// A result as text.
fn show(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => {
            let value = f32::from_bits(*bits);
            match has_many_digits(value.into()) {
                true => format!("{value:e}"),
                false => value.to_string(),
            }
        }
        Val::F64(bits) => {
            let value = f64::from_bits(*bits);
            match has_many_digits(value) {
                true => format!("{value:e}"),
                false => value.to_string(),
            }
        }
        Val::V128(value) => format!("{:#034x}", value.as_u128()),
        reference => reference_name(reference).to_string(),
    }
}

/// Whether the value reads better with an exponent.
fn has_many_digits(value: f64) -> bool {
    value.is_finite() && value != 0.0 && !(1e-5..1e16).contains(&value.abs())
}

/// The first `most` results as text.
pub fn list(values: &[Value], most: usize) -> String {
    let shown = comma_separated(values.iter().take(most).map(|value| &value.text));
    match values.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown}, … and {more} more"),
    }
}

/// A result as JSON: a number if JSON can hold it, else a string.
fn json(value: &Val) -> serde_json::Value {
    match value {
        Val::I32(value) => (*value).into(),
        Val::I64(value) => (*value).into(),
        Val::F32(bits) if f32::from_bits(*bits).is_finite() => f32::from_bits(*bits).into(),
        Val::F64(bits) if f64::from_bits(*bits).is_finite() => f64::from_bits(*bits).into(),
        other => show(other).into(),
    }
}

fn reference_name(value: &Val) -> &'static str {
    match value {
        Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) => "null",
        Val::FuncRef(_) => "funcref",
        Val::ExternRef(_) => "externref",
        Val::AnyRef(_) => "anyref",
        Val::ExnRef(_) => "exnref",
        _ => "reference",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(ty: ValType, text: &str) -> String {
        show(&parse(&ty, text).unwrap())
    }

    fn error(ty: ValType, text: &str) -> String {
        parse(&ty, text).unwrap_err().to_string()
    }

    #[test]
    fn integers_are_decimal_or_hex_signed_or_unsigned() {
        assert_eq!(ok(ValType::I32, "30"), "30");
        assert_eq!(ok(ValType::I32, "+1_000"), "1000");
        assert_eq!(ok(ValType::I32, "-2147483648"), "-2147483648");
        assert_eq!(ok(ValType::I32, "4294967295"), "-1");
        assert_eq!(ok(ValType::I32, "-0x10"), "-16");
        assert_eq!(ok(ValType::I64, "0xffffffffffffffff"), "-1");
        assert_eq!(
            ok(ValType::I64, "-9223372036854775808"),
            i64::MIN.to_string()
        );
    }

    #[test]
    fn bad_integers_are_errors_that_name_the_range() {
        for text in [
            "",
            "-",
            "abc",
            "1.5",
            "0x",
            "--1",
            "0x-1",
            "4294967296",
            "-2147483649",
        ] {
            let error = error(ValType::I32, text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("from -2147483648 to 4294967295"), "{error}");
        }
        assert!(error(ValType::I64, "18446744073709551616").contains("not an i64"));
    }

    #[test]
    fn floats_keep_infinity_and_nan_but_reject_overflow() {
        assert_eq!(ok(ValType::F64, "-2.5e3"), "-2500");
        assert_eq!(ok(ValType::F32, "inf"), "inf");
        assert_eq!(ok(ValType::F64, "nan"), "NaN");
        assert!(error(ValType::F32, "1e39").contains("too large for an f32"));
        assert!(error(ValType::F64, "1e309").contains("too large for an f64"));
        assert!(error(ValType::F64, "x").contains("such as 1.5"));
    }

    #[test]
    fn vectors_and_references_are_refused() {
        assert!(error(ValType::V128, "0").contains("v128"));
        assert!(error(ValType::EXTERNREF, "0").contains("i32, i64, f32 and f64 can"));
    }

    #[test]
    fn very_large_and_very_small_floats_have_an_exponent() {
        let f64 = |value: f64| show(&Val::F64(value.to_bits()));
        assert_eq!(f64(f64::MAX), "1.7976931348623157e308");
        assert_eq!(f64(-1e16), "-1e16");
        assert_eq!(f64(999_999_999_999_999.9), "999999999999999.9");
        assert_eq!(f64(0.00001), "0.00001");
        assert_eq!(f64(5e-324), "5e-324");
        assert_eq!((f64(0.0), f64(f64::INFINITY)), ("0".into(), "inf".into()));
        assert_eq!(show(&Val::F32(f32::MAX.to_bits())), "3.4028235e38");
    }

    #[test]
    fn long_lists_of_results_are_cut() {
        let values: Vec<Value> = (0..1000).map(|i| Value::from(&Val::I32(i))).collect();
        assert_eq!(list(&values, 3), "0, 1, 2, … and 997 more");
        assert_eq!(list(&values[..3], 3), "0, 1, 2");
    }

    #[test]
    fn json_results_are_numbers_where_json_has_them() {
        assert_eq!(json(&Val::I64(i64::MIN)).to_string(), i64::MIN.to_string());
        assert_eq!(json(&Val::F64(0.5f64.to_bits())).to_string(), "0.5");
        assert_eq!(json(&Val::F64(f64::NAN.to_bits())).to_string(), "\"NaN\"");
        assert_eq!(json(&Val::FuncRef(None)).to_string(), "\"null\"");
        assert_eq!(
            json(&Val::V128(1u128.into())).to_string(),
            "\"0x00000000000000000000000000000001\""
        );
    }
}
