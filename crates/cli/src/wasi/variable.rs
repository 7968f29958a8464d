//! Environment variables of guests.

use crate::names;
use std::env::{self, VarError};
use wasmtime::{Result, bail};

/// Parses the value of `--env`: `NAME=VAL`, or `NAME` for the value that it has for this process.
/// `None` if it has none.
///
/// # Errors
///
/// If it is neither. `forms` are the other ways to write it.
pub fn variable(text: &str, forms: &str) -> Result<Option<(String, String)>> {
    if let Some((name, value)) = split(text) {
        return Ok(Some((name.to_string(), value.to_string())));
    }
    if text.is_empty() || text.starts_with('=') {
        bail!(
            "--env {}: write {forms}, or NAME for the value that it has here",
            names::name(text)
        );
    }
    match env::var(text) {
        Ok(value) => Ok(Some((text.to_string(), value))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!(
            "--env {}: its value here is not valid UTF-8; write NAME=VAL",
            names::name(text)
        ),
    }
}

/// Splits `NAME=VALUE`.
pub fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.is_empty())
}
