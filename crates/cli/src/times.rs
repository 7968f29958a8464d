//! Durations: on the command line, and in figures.

use serde::Serializer;
use std::time::Duration;
use wasmtime::{Result, format_err};

/// What is wrong with a duration.
#[derive(Debug, PartialEq)]
pub enum Wrong {
    Zero,
    /// The reason why it is no duration.
    NoTime(String),
}

/// Parses a duration above zero.
pub fn parse(text: &str) -> Result<Duration, Wrong> {
    if text.starts_with('-') {
        return Err(Wrong::NoTime("a time is never negative".to_string()));
    }
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(Wrong::Zero),
        Ok(time) => Ok(time),
        Err(error) => Err(Wrong::NoTime(error.to_string())),
    }
}

/// Like [`parse`], with an error for users: `zero` says what a duration of zero would do,
/// and `example` what works.
pub fn parse_or_say(text: &str, zero: &str, example: &str) -> Result<Duration> {
    parse(text).map_err(|wrong| match wrong {
        Wrong::Zero => format_err!("{zero}; give a time above zero, such as {example}"),
        Wrong::NoTime(why) => format_err!("{why}; give a time such as {example}"),
    })
}

/// A duration in the JSON object's unit.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// For `serialize_with`: [`milliseconds`].
pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(milliseconds(*time))
}

/// `part` of `total`; zero if `total` is zero.
pub fn share(part: Duration, total: Duration) -> f64 {
    match total.is_zero() {
        true => 0.0,
        false => part.as_nanos() as f64 / total.as_nanos() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        assert_eq!(parse("1s 5ms"), Ok(Duration::from_millis(1005)));
        assert_eq!(parse("0ms"), Err(Wrong::Zero));
        for text in ["", "2", "soon", "-1s", "ms"] {
            assert!(matches!(parse(text), Err(Wrong::NoTime(_))), "{text}");
        }
    }

    #[test]
    fn share_of_nothing_is_zero() {
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 0.0);
        let ms = Duration::from_millis;
        assert_eq!(share(ms(1), ms(4)), 0.25);
    }

    #[test]
    fn errors_name_what_works() {
        let error = |text| parse_or_say(text, "nothing runs", "2s").unwrap_err();
        assert_eq!(
            error("0s").to_string(),
            "nothing runs; give a time above zero, such as 2s"
        );
        assert_eq!(
            error("-1s").to_string(),
            "a time is never negative; give a time such as 2s"
        );
    }
}
