//! What is expected to fail, and why: `expected.txt`.
//!
//! ```text
//! # A comment.
//! A reason, at the beginning of a line:
//!   wasm-v3/file.wast:12            this directive fails
//!   wasm-v3/file.wast:12-40         each directive in these lines
//!   wasm-v3/file.wast:12 signals    under this source only, or under these
//!   pthreads/file.c:12              this line of a program in C, whenever it runs
//! ```

use super::source::Source;
use super::{pthreads, suites};
use std::ops::RangeInclusive;

pub struct Expected {
    entries: Vec<Entry>,
}

pub struct Entry {
    pub reason: &'static str,
    pub path: &'static str,
    pub lines: RangeInclusive<usize>,
    /// All if there are none.
    sources: Vec<&'static str>,
}

impl Expected {
    pub fn load() -> Expected {
        let mut entries = Vec::new();
        let mut reason = None;
        for line in include_str!("expected.txt").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("  ") {
                None => reason = Some(line.strip_suffix(':').expect("a reason ends with `:`")),
                Some(entry) => entries.push(Entry::parse(reason.expect("a reason"), entry)),
            }
        }
        let suites = suites::all();
        for entry in &entries {
            let mut files = suites.iter().flat_map(|suite| &suite.files);
            let known = files.any(|file| file.path == entry.path)
                || pthreads::PROGRAMS
                    .iter()
                    .any(|program| pthreads::path(program) == entry.path);
            assert!(known, "expected.txt: there is no file {}", entry.path);
        }
        Expected { entries }
    }

    /// What is said about a file.
    pub fn of(&self, path: &str, source: Source) -> impl Iterator<Item = &Entry> + Clone {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.path == path && entry.is_about(source))
    }
}

impl Entry {
    fn parse(reason: &'static str, entry: &'static str) -> Entry {
        let mut words = entry.split_whitespace();
        let parsed = words.next().and_then(|place| {
            let (path, lines) = place.split_once(':')?;
            let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
            Some((path, first.parse().ok()?..=last.parse().ok()?))
        });
        let (path, lines) = parsed.unwrap_or_else(|| panic!("expected.txt: `{entry}`"));
        Entry {
            reason,
            path,
            lines,
            sources: words.collect(),
        }
    }

    fn is_about(&self, source: Source) -> bool {
        self.sources.is_empty() || self.sources.contains(&source.to_string().as_str())
    }
}
