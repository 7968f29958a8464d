//! Which of upstream's tests are expected to fail, and why: tests/conformance/upstream.txt.
//!
//! ```text
//! # A comment.
//! A reason, at the beginning of a line:
//!   func::call_signature_mismatch      this test fails
//!   pooling_allocator::*               all of this module's tests fail
//!   fuel::iloop plain-calls signals    under these sources only
//! Not run, as it takes minutes:
//!   gc::many_live_refs                 a reason that begins with `Not run` says what it says
//! ```

use anyhow::{Context, Result, bail};

pub struct Expected<'a> {
    entries: Vec<Entry<'a>>,
}

pub struct Entry<'a> {
    pub reason: &'a str,
    pub test: &'a str,
    /// All if there are none.
    sources: Vec<&'a str>,
}

impl<'a> Expected<'a> {
    pub fn parse(text: &'a str) -> Result<Expected<'a>> {
        let mut entries = Vec::new();
        let mut reason = None;
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(entry) = line.strip_prefix("  ") else {
                let Some(text) = line.strip_suffix(':') else {
                    bail!("a reason ends with `:`, which this does not: {line}");
                };
                reason = Some(text);
                continue;
            };
            let mut words = entry.split_whitespace();
            entries.push(Entry {
                reason: reason.with_context(|| format!("there is no reason for `{entry}`"))?,
                test: words.next().unwrap_or_default(),
                sources: words.collect(),
            });
        }
        Ok(Expected { entries })
    }

    /// Why `test` is expected to fail under `source`.
    pub fn of(&self, test: &str, source: &str) -> Option<&Entry<'a>> {
        self.about(source).find(|entry| entry.is_for(test))
    }

    /// What is expected to fail under `source`.
    pub fn about(&self, source: &str) -> impl Iterator<Item = &Entry<'a>> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.sources.is_empty() || entry.sources.contains(&source))
    }
}

impl Entry<'_> {
    pub fn is_run(&self) -> bool {
        !self.reason.starts_with("Not run")
    }

    pub fn is_for(&self, test: &str) -> bool {
        match self.test.strip_suffix('*') {
            Some(module) => test.starts_with(module),
            None => test == self.test,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_expected_to_fail_for_a_reason_and_under_some_sources() {
        let text = "# A comment.\nOne:\n  a::b\n  c::* fuel signals\n\nNot run, so:\n  d fuel\n";
        let expected = Expected::parse(text).unwrap();
        let reason = |test, source| expected.of(test, source).map(|entry| entry.reason);
        assert_eq!(reason("a::b", "epochs"), Some("One"));
        assert_eq!(reason("a::bc", "epochs"), None);
        assert_eq!(reason("c::d", "fuel"), Some("One"));
        assert_eq!(reason("c::d", "epochs"), None);
        assert_eq!(reason("d", "fuel"), Some("Not run, so"));
        assert!(!expected.of("d", "fuel").unwrap().is_run());
        assert!(expected.of("a::b", "fuel").unwrap().is_run());
        assert!(Expected::parse("  a\n").is_err());
        assert!(Expected::parse("One\n").is_err());
    }

    #[test]
    fn the_list_of_this_repository_can_be_read() {
        let text = include_str!("../../../tests/conformance/upstream.txt");
        Expected::parse(text).unwrap();
    }
}
