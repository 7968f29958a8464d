//! What a patch says about itself, and what it does.

use std::ops::Range;

/// The line in a patch's message that every patch must have.
pub const STATUS: &str = "Upstream-Status:";

/// How that line may begin, and what must follow: see patches/README.md.
pub const STATUSES: [(&str, Option<Remark>); 4] = [
    ("pending", None),
    (
        "submitted",
        Some(Remark {
            what: "the pull request's address",
            is_there: |text| text.contains("https://"),
        }),
    ),
    (
        "backport",
        Some(Remark {
            what: "the version that has it",
            is_there: |text| text.contains(|c: char| c.is_ascii_digit()),
        }),
    ),
    (
        "local",
        Some(Remark {
            what: "the reason why upstream has no use for it",
            is_there: |text| text.contains(char::is_alphabetic),
        }),
    ),
];

pub struct Remark {
    pub what: &'static str,
    pub is_there: fn(&str) -> bool,
}

#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    pub subject: String,
    /// Whether the message has text besides the subject and lines such as `Name: text`.
    pub has_reason: bool,
    pub status: Option<String>,
    pub files: Vec<FileChange>,
}

#[derive(Debug, Default, PartialEq)]
pub struct FileChange {
    pub path: String,
    /// "adds", "deletes", "renames" or "copies", if it does more than edit.
    pub beyond_edit: Option<&'static str>,
    pub added: usize,
    pub removed: usize,
    /// The lines that it adds, counted in the new file from 1.
    pub added_lines: Vec<Range<usize>>,
}

/// Reads a patch in git's mail form, or a bare `git diff`.
pub fn summarize(text: &str) -> Summary {
    let mut summary = Summary::default();
    let mut lines = text.split('\n').peekable();
    let mut in_message = false;
    while let Some(line) = lines.peek() {
        if line.starts_with("diff --git ") {
            break;
        }
        if let Some(subject) = line.strip_prefix("Subject: ") {
            let subject = subject.strip_prefix("[PATCH] ").unwrap_or(subject);
            summary.subject = subject.to_string();
            lines.next();
            // A long subject continues on lines that start with a space.
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix(' ')) {
                summary.subject.push(' ');
                summary.subject.push_str(more);
                lines.next();
            }
            continue;
        }
        if let Some(status) = line.strip_prefix(STATUS) {
            let status = status.trim();
            summary.status = (!status.is_empty()).then(|| status.to_string());
        }
        // Statistics follow.
        in_message &= *line != "---";
        summary.has_reason |= in_message && !line.trim().is_empty() && !is_trailer(line);
        in_message |= line.is_empty() && !summary.subject.is_empty();
        lines.next();
    }

    // How much of the current hunk remains, in the old and the new file. Inside a hunk, a
    // line that starts with `---` is contents.
    let (mut old, mut new, mut at) = (0usize, 0usize, 0usize);
    for line in lines {
        if let Some(paths) = line.strip_prefix("diff --git ")
            && old == 0
            && new == 0
        {
            let path = paths.split(" b/").last().unwrap_or(paths);
            summary.files.push(FileChange {
                path: path.to_string(),
                ..FileChange::default()
            });
            continue;
        }
        let Some(file) = summary.files.last_mut() else {
            continue;
        };
        if old == 0 && new == 0 {
            for (prefix, what) in [
                ("new file mode", "adds"),
                ("deleted file mode", "deletes"),
                ("rename from", "renames"),
                ("copy from", "copies"),
                ("old mode", "changes the mode of"),
                ("GIT binary patch", "replaces the binary file"),
                ("Binary files", "replaces the binary file"),
            ] {
                if line.starts_with(prefix) {
                    file.beyond_edit = Some(what);
                }
            }
            if let Some((from, to)) = hunk(line) {
                (old, at, new) = (from.1, to.0, to.1);
            }
            continue;
        }
        match line.as_bytes().first() {
            Some(b'+') => {
                file.added += 1;
                match file.added_lines.last_mut() {
                    Some(range) if range.end == at => range.end += 1,
                    _ => file.added_lines.push(at..at + 1),
                }
                at += 1;
                new = new.saturating_sub(1);
            }
            Some(b'-') => {
                file.removed += 1;
                old = old.saturating_sub(1);
            }
            Some(b'\\') => {}
            _ => {
                at += 1;
                old = old.saturating_sub(1);
                new = new.saturating_sub(1);
            }
        }
    }
    summary
}

/// A line such as `Signed-off-by: somebody`.
fn is_trailer(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, _)| {
        name.contains('-') && name.chars().all(|c| c.is_alphanumeric() || c == '-')
    })
}

/// `@@ -1,2 +3,4 @@` as ((1, 2), (3, 4)).
fn hunk(line: &str) -> Option<((usize, usize), (usize, usize))> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    Some((range(old)?, range(new)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_are_counted_by_their_headers() {
        let text = "Subject: [PATCH] A long\n subject\n\nWhy.\n\nUpstream-Status: maybe\n\n\
            diff --git a/x.rs b/x.rs\nindex 1..2 100644\n--- a/x.rs\n+++ b/x.rs\n\
            @@ -1,3 +1,4 @@ fn f()\n context\n--- deleted\n+++ added\n+added\n context\n\
            @@ -9 +11 @@\n-old\n+new\n\
            diff --git a/y.rs b/y.rs\nnew file mode 100644\n--- /dev/null\n+++ b/y.rs\n\
            @@ -0,0 +1 @@\n+new\n\\ No newline at end of file\n";
        let summary = summarize(text);
        assert_eq!(summary.subject, "A long subject");
        assert_eq!(summary.status.as_deref(), Some("maybe"));
        assert!(summary.has_reason);
        assert_eq!(
            summary.files,
            [
                FileChange {
                    path: "x.rs".to_string(),
                    beyond_edit: None,
                    added: 3,
                    removed: 2,
                    added_lines: vec![2..4, 11..12],
                },
                FileChange {
                    path: "y.rs".to_string(),
                    beyond_edit: Some("adds"),
                    added: 1,
                    removed: 0,
                    added_lines: std::iter::once(1..2).collect(),
                },
            ]
        );
    }

    #[test]
    fn subject_trailers_and_statistics_are_no_reason() {
        let head = "From: somebody\nSubject: [PATCH] Why not\n\n";
        let tail = "Upstream-Status: pending\nSigned-off-by: a b <c@d>\n---\n x.rs | 2 +-\n\n\
            diff --git a/x.rs b/x.rs\n";
        assert!(!summarize(&format!("{head}{tail}")).has_reason);
        for reason in ["Needed.\n", "See: the paper.\n"] {
            assert!(summarize(&format!("{head}{reason}\n{tail}")).has_reason);
        }
    }
}
