//! Names for human readers. They were chosen by whoever made a module, and must not be able
//! to affect a terminal.

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use preempt_trace::labels::shorten;
use std::collections::HashSet;
use std::path::Path;

/// A name on one line, with all unsafe characters escaped.
pub fn name(name: &str) -> String {
    escaped(name, |_| false)
}

/// Text that may have several lines.
pub fn text(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// A path on one line.
pub fn path(path: &Path) -> String {
    name(&path.to_string_lossy())
}

/// Names in a column: all of the same width, and none wider than `most`.
pub fn column(names: &[String], most: usize) -> Vec<String> {
    let width = names.iter().map(|name| measure_text_width(name)).max();
    let width = width.unwrap_or(0).min(most);
    let fitted = names.iter().map(|name| {
        let cut = truncate_str(name, width, "…");
        pad_str(&cut, width, Alignment::Left, None).into_owned()
    });
    fitted.collect()
}

/// What the lines of each guest begin with: all of the same width, and different ones for
/// different guests.
pub fn labels(guests: &[String]) -> Vec<String> {
    /// The most characters of a name.
    const MOST: usize = 24;
    let names: Vec<String> = guests.iter().map(|guest| name(guest)).collect();
    let mut names = shorten(&names, MOST);
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        for (number, name) in (1..).zip(&mut names) {
            *name = format!("{number} {name}");
        }
    }
    let column = column(&names, usize::MAX).into_iter();
    column.map(|name| format!("{name} | ")).collect()
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) && !keeps(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Whether the character does more than appear: control characters, and those that hide or
/// reorder others.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_line_and_act_on_nothing() {
        let hostile = "a\x1b[2J\x07\r\nb\u{9b}1m\u{202e}c";
        let shown = r"a\u{1b}[2J\u{7}\r\nb\u{9b}1m\u{202e}c";
        assert_eq!(name(hostile), shown);
        assert_eq!(text("a\tb\n\x1b"), "a\tb\n\\u{1b}");
    }

    #[test]
    fn labels_tell_guests_apart() {
        let labels = |guests: &[&str]| {
            let guests: Vec<String> = guests.iter().map(|guest| guest.to_string()).collect();
            super::labels(&guests)
        };
        assert_eq!(labels(&["a.wat", "bc.wat"]), ["a.wat  | ", "bc.wat | "]);
        assert_eq!(labels(&["a", "b", "a"]), ["1 a | ", "2 b | ", "3 a | "]);
        let long = labels(&["/a/rather/long/path/to/one.wasm", "x\x1b"]);
        assert_eq!(long[0], "…r/long/path/to/one.wasm | ");
        assert_eq!(long[1].trim_end(), r"x\u{1b}                  |");
    }

    #[test]
    fn letters_of_all_scripts_are_shown() {
        for letters in ["fib", "größe", "素数", "é", "🦀", r"back\slash"] {
            assert_eq!(name(letters), letters);
        }
    }
}
