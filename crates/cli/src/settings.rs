//! Options that apply to one guest or to all: `[GUEST=]VALUE`, where GUEST is a name or a
//! number. Both may contain `=`.

use crate::names;
use crate::values::comma_separated;
use wasmtime::{Result, bail};

/// An option's value for one guest, or for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<V> {
    /// The guest's name, or its number counted from 1.
    pub guest: Option<String>,
    pub value: V,
    /// The text as given, for errors.
    pub text: String,
}

/// Parses `[GUEST=]VALUE`. A name may contain `=`, a value may not.
pub fn parse<V>(text: &str, value: impl FnOnce(&str) -> Result<V>) -> Result<Setting<V>> {
    let (guest, rest) = match text.rsplit_once('=') {
        Some(("", _)) => {
            bail!("there is no guest before the `=`; write GUEST=VALUE, or VALUE for all guests")
        }
        Some((guest, rest)) => (Some(guest.to_string()), rest),
        None => (None, text),
    };
    Ok(Setting {
        guest,
        value: value(rest)?,
        text: text.to_string(),
    })
}

/// Splits `[GUEST=]VALUE` where VALUE may contain `=`. GUEST is the longest prefix that is
/// a guest and leaves something that `is_value`.
pub fn split(text: &str, guests: &[String], is_value: impl Fn(&str) -> bool) -> Setting<String> {
    let ends = text.match_indices('=').map(|(at, _)| at).rev();
    let is_guest =
        |end: &usize| !find(&text[..*end], guests).is_empty() && is_value(&text[end + 1..]);
    let (guest, value) = match ends.into_iter().find(is_guest) {
        Some(end) => (Some(text[..end].to_string()), &text[end + 1..]),
        None => (None, text),
    };
    Setting {
        guest,
        value: value.to_string(),
        text: text.to_string(),
    }
}

/// The value for each of `guests`, if it has one: the last one given.
///
/// # Errors
///
/// If a setting is for a guest that does not exist.
pub fn for_each<V: Clone>(
    option: &str,
    settings: &[Setting<V>],
    guests: &[String],
) -> Result<Vec<Option<V>>> {
    let mut values = vec![None; guests.len()];
    for setting in settings {
        for index in setting.guests(option, guests)? {
            values[index] = Some(setting.value.clone());
        }
    }
    Ok(values)
}

impl<V> Setting<V> {
    /// The indices of the guests that the setting applies to.
    ///
    /// # Errors
    ///
    /// If there is no such guest.
    pub fn guests(&self, option: &str, guests: &[String]) -> Result<Vec<usize>> {
        match &self.guest {
            None => Ok((0..guests.len()).collect()),
            Some(name) => {
                let found = find(name, guests);
                if found.is_empty() {
                    bail!(
                        "{option} {}: there is no guest `{}`; the guests are {}",
                        names::name(&self.text),
                        names::name(name),
                        list(guests)
                    );
                }
                Ok(found)
            }
        }
    }
}

/// All guests with this name, or the one with this number.
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
    /// More would be no help.
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
    fn value_may_contain_an_equals_sign() {
        let guests = ["echo.wasm(a=b)", "A"].map(str::to_string);
        let is_variable = |text: &str| text.contains('=');
        let split = |text| {
            let Setting { guest, value, .. } = super::split(text, &guests, is_variable);
            (guest.unwrap_or_default(), value)
        };
        let expected = |guest: &str, value: &str| (guest.to_string(), value.to_string());
        assert_eq!(split("KEY=a=b"), expected("", "KEY=a=b"));
        assert_eq!(split("2=KEY=a=b"), expected("2", "KEY=a=b"));
        assert_eq!(
            split("echo.wasm(a=b)=KEY="),
            expected("echo.wasm(a=b)", "KEY=")
        );
        assert_eq!(split("A=b"), expected("", "A=b"));
        assert_eq!(split("A=B=c"), expected("A", "B=c"));
        assert_eq!(split("3=B=c"), expected("", "3=B=c"));
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
                     the guests are 1 (`a`), 2 (`b`)"
                )
            );
        }
        let many: Vec<String> = (1..=50).map(|n| format!("g{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = values(&["x=1"], &many).unwrap_err();
        assert!(error.ends_with("12 (`g12`) and 38 more"), "{error}");
    }
}
