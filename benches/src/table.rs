//! Markdown tables, and figures as they are printed.

use comfy_table::{CellAlignment, Table as Markdown, presets};
use std::fmt;

/// A table whose first columns say what a line is about.
pub struct Table {
    markdown: Markdown,
    labels: usize,
    above: Vec<String>,
}

impl Table {
    /// The first `labels` columns are left empty where they say what the line above says, and
    /// those in `texts` are aligned to the left.
    pub fn new<H: Into<String>>(
        header: impl IntoIterator<Item = H>,
        labels: usize,
        texts: &[usize],
    ) -> Table {
        let header: Vec<String> = header.into_iter().map(Into::into).collect();
        let mut markdown = Markdown::new();
        markdown.load_style(presets::ASCII_MARKDOWN);
        let columns = header.len();
        markdown.set_header(header);
        for column in (0..columns).filter(|column| !texts.contains(column)) {
            if let Some(column) = markdown.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Table {
            markdown,
            labels,
            above: Vec::new(),
        }
    }

    pub fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        let labels = cells[..self.labels].to_vec();
        if labels == self.above {
            cells[..self.labels].fill(String::new());
        }
        self.above = labels;
        self.markdown.add_row(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.markdown.fmt(f)
    }
}

/// What there may be nothing to say of.
pub fn or_empty<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map(text).unwrap_or_default()
}

pub fn verdict(met: bool) -> String {
    if met { "met" } else { "NOT met" }.into()
}

/// With a unit that suits it, if it is of nanoseconds.
pub fn with_unit(figure: f64, unit: &str) -> String {
    match (unit, figure) {
        ("ns", ..100.0) => format!("{figure:.1} ns"),
        ("ns", ..1e3) => format!("{figure:.0} ns"),
        ("ns", ..1e4) => format!("{:.2} us", figure / 1e3),
        ("ns", ..1e6) => format!("{:.1} us", figure / 1e3),
        ("ns", _) => format!("{:.2} ms", figure / 1e6),
        _ => format!("{figure:.2} {unit}"),
    }
}

pub fn nanos(nanos: u64) -> String {
    with_unit(nanos as f64, "ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_said_once() {
        let mut table = Table::new(["group", "what", "figure"], 1, &[0, 1]);
        for what in ["a", "b"] {
            table.add(["same", what, "1"].map(String::from));
        }
        let text = table.to_string();
        assert_eq!((text.matches("same").count(), text.lines().count()), (1, 4));
    }

    #[test]
    fn units_suit_the_figures() {
        let text = [9.87, 987.6, 1234.0, 12_345.0, 1.5e6].map(|figure| with_unit(figure, "ns"));
        assert_eq!(text, ["9.9 ns", "988 ns", "1.23 us", "12.3 us", "1.50 ms"]);
        assert_eq!(with_unit(0.5, "%"), "0.50 %");
    }
}
