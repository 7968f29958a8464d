//! Options that hold for one guest or for all: `[GUEST=]VALUE`, where GUEST is
//! its name or its number.

use crate::names;
use crate::values::comma_separated;
use wasmtime::{Result, bail};

/// An option's value for one guest, or for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<V> {
    /// Its name, or its number counted from 1.
    pub guest: Option<String>,
    pub value: V,
    /// What was given, for errors.
    pub text: String,
}

/// Parses `[GUEST=]VALUE`. A name may contain `=`, a value may not.
pub fn parse<V>(text: &str, value: impl FnOnce(&str) -> Result<V>) -> Result<Setting<V>> {
    let (guest, rest) = match text.rsplit_once('=') {
        Some(("", _)) => bail!("no guest before the `=`; write GUEST=VALUE, or VALUE for all"),
        Some((guest, rest)) => (Some(guest.to_string()), rest),
        None => (None, text),
    };
    Ok(Setting {
        guest,
        value: value(rest)?,
        text: text.to_string(),
    })
}

/// The value for each of `guests`, if it has one: the last that was given.
///
/// # Errors
///
/// If a setting is for a guest that there is not.
pub fn for_each<V: Clone>(
    option: &str,
    settings: &[Setting<V>],
    guests: &[String],
) -> Result<Vec<Option<V>>> {
    let mut values = vec![None; guests.len()];
    for setting in settings {
        let value = Some(setting.value.clone());
        match &setting.guest {
            None => values.fill(value),
            Some(name) => {
                let found = find(name, guests);
                if found.is_empty() {
                    bail!(
                        "{option} {}: there is no guest `{}`; there are {}",
                        names::name(&setting.text),
                        names::name(name),
                        list(guests)
                    );
                }
                for index in found {
                    values[index].clone_from(&value);
                }
            }
        }
    }
    Ok(values)
}

/// All guests of this name, or the one of this number.
fn find(name: &str, guests: &[String]) -> Vec<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit());
    if let (true, Ok(number)) = (is_number, name.parse::<usize>())
        && (1..=guests.len()).contains(&number)
    {
        return vec![number - 1];
    }
    let named = guests.iter().enumerate().filter(|(_, text)| *text == name);
    named.map(|(index, _)| index).collect()
}

fn list(guests: &[String]) -> String {
    /// More are of no help.
    const MOST: usize = 12;
    let shown = guests.iter().zip(1..).take(MOST);
    let shown =
        comma_separated(shown.map(|(text, number)| format!("{number} (`{}`)", names::name(text))));
    match guests.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(text: &str) -> Setting<String> {
        parse(text, |value| Ok(value.to_string())).unwrap()
    }

    fn values(settings: &[&str], guests: &[&str]) -> Result<Vec<Option<String>>, String> {
        let settings: Vec<_> = settings.iter().map(|text| setting(text)).collect();
        let guests: Vec<_> = guests.iter().map(|text| text.to_string()).collect();
        for_each("--weight", &settings, &guests).map_err(|error| error.to_string())
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| Some(value.to_string())).collect()
    }

    #[test]
    fn guest_is_what_stands_before_the_last_equals_sign() {
        assert_eq!(setting("3").guest, None);
        assert_eq!(setting("a.wat=3").guest.as_deref(), Some("a.wat"));
        let with_args = setting("echo.wasm(a=b)=3");
        assert_eq!(with_args.guest.as_deref(), Some("echo.wasm(a=b)"));
        assert_eq!(with_args.value, "3");
        assert!(parse("=3", |_| Ok(())).is_err());
    }

    #[test]
    fn guests_are_found_by_name_and_by_number() {
        let guests = ["a", "b", "a"];
        assert_eq!(
            values(&["5", "a=1", "2=7"], &guests),
            Ok(some(&["1", "7", "1"]))
        );
        assert_eq!(values(&["a=1", "5"], &guests), Ok(some(&["5", "5", "5"])));
        assert_eq!(
            values(&["3=1"], &guests),
            Ok(vec![None, None, Some("1".to_string())])
        );
    }

    #[test]
    fn number_that_is_no_guests_may_be_a_name() {
        assert_eq!(values(&["7=1"], &["7"]), Ok(some(&["1"])));
    }

    #[test]
    fn unknown_guest_lists_those_that_there_are() {
        for unknown in ["c", "0", "3", "18446744073709551616"] {
            let error = values(&[&format!("{unknown}=1")], &["a", "b"]).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "--weight {unknown}=1: there is no guest `{unknown}`; \
                     there are 1 (`a`), 2 (`b`)"
                )
            );
        }
        let many: Vec<String> = (1..=50).map(|n| format!("g{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = values(&["x=1"], &many).unwrap_err();
        assert!(error.ends_with("12 (`g12`) and 38 more"), "{error}");
    }
}
