//! What a port changes in a patch: a file with a reason, the conflicts that it is about, and a
//! diff.
//!
//! ```text
//! What is different upstream, for a person.
//!
//! Conflicts: 1 in crates/cranelift/src/func_environ.rs
//!
//! diff --git a/crates/...
//! ```

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A file of upstream, and in how many places a patch to it cannot be merged.
pub type Conflicts = BTreeMap<String, usize>;

#[derive(Default, PartialEq, Debug)]
pub struct Change {
    pub reason: String,
    pub conflicts: Conflicts,
    /// From what was merged to what it should be.
    pub diff: String,
}

const CONFLICTS: &str = "Conflicts: ";

impl Change {
    pub fn parse(text: &str) -> Result<Change> {
        let mut change = Change::default();
        let mut lines = text.split_inclusive('\n');
        let mut at = 0;
        for line in lines
            .by_ref()
            .take_while(|line| !line.starts_with("diff --git "))
        {
            at += line.len();
            let Some(conflict) = line.strip_prefix(CONFLICTS) else {
                change.reason.push_str(line);
                continue;
            };
            let parsed = conflict.trim_end().split_once(" in ");
            let Some((Ok(count), path)) = parsed.map(|(n, path)| (n.parse(), path)) else {
                bail!("`{}` is not `{CONFLICTS}1 in src/lib.rs`", line.trim_end());
            };
            change.conflicts.insert(path.to_string(), count);
        }
        change.reason.truncate(change.reason.trim_end().len());
        change.diff = text[at..].to_string();
        Ok(change)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.reason.is_empty() {
            text = format!("{}\n\n", self.reason);
        }
        for (path, count) in &self.conflicts {
            writeln!(text, "{CONFLICTS}{count} in {path}").expect("a string can be written to");
        }
        if !self.conflicts.is_empty() {
            text.push('\n');
        }
        text + &self.diff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let change = Change {
            reason: "It has another name,\nand is elsewhere.".to_string(),
            conflicts: BTreeMap::from([("src/a b.rs".to_string(), 2)]),
            diff: "diff --git a/x b/x\n@@ -1 +1 @@\n-Conflicts: 1\n+2\n".to_string(),
        };
        assert_eq!(Change::parse(&change.text()).unwrap(), change);
        let plain = Change {
            conflicts: Conflicts::new(),
            ..change
        };
        assert_eq!(Change::parse(&plain.text()).unwrap(), plain);
        assert!(Change::parse("Conflicts: src/lib.rs\n").is_err());
    }
}
