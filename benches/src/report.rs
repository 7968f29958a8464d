//! Rows of figures with aims, as Markdown and as JSON.

use crate::beside_stock::Comparison;
use crate::memory::Figures;
use crate::paired::{Samples, Spread, named};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fs;
use std::path::Path;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// Something that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub group: &'static str,
    pub what: String,
    /// Its figure, in `unit`.
    pub figure: f64,
    pub unit: &'static str,
    /// What it is compared with, and the figure of that.
    pub beside: Option<Beside>,
    /// What `figure`, or its ratio where there is one, should not be above.
    pub aim: Option<f64>,
    pub met: Option<bool>,
}

/// The other side of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    pub what: String,
    pub figure: f64,
    /// The median of the ratios, and the quartiles.
    pub ratio: f64,
    pub ratio_low: f64,
    pub ratio_high: f64,
}

impl Row {
    fn new(
        group: &'static str,
        what: &str,
        (figure, unit): (f64, &'static str),
        beside: Option<Beside>,
        aim: Option<f64>,
    ) -> Row {
        let judged = beside.as_ref().map_or(figure, |beside| beside.ratio);
        Row {
            group,
            what: what.into(),
            figure,
            unit,
            beside,
            aim,
            met: aim.map(|aim| judged <= aim),
        }
    }

    /// One subject beside another.
    pub fn pair(
        group: &'static str,
        samples: &[Samples],
        what: &str,
        beside: &str,
        aim: Option<f64>,
    ) -> Result<Row> {
        let (this, other) = (named(samples, what)?, named(samples, beside)?);
        let beside = Beside::new(beside, other.median(), this.ratio(other));
        let figure = (this.median(), "ns");
        Ok(Row::new(group, what, figure, Some(beside), aim))
    }

    /// A figure that no subject has.
    pub fn figure(
        group: &'static str,
        what: &str,
        figure: f64,
        unit: &'static str,
        aim: Option<f64>,
    ) -> Row {
        Row::new(group, what, (figure, unit), None, aim)
    }

    /// One subject by itself.
    pub fn alone(group: &'static str, samples: &[Samples], what: &str) -> Result<Row> {
        let figure = (named(samples, what)?.median(), "ns");
        Ok(Row::new(group, what, figure, None, None))
    }

    /// This build beside stock Wasmtime.
    pub fn stock(comparison: &Comparison, aim: f64) -> Row {
        let beside = Beside::new("stock", comparison.stock, comparison.ratio);
        let figure = (comparison.ours, "ns");
        let group = "no guest thread";
        Row::new(group, comparison.what, figure, Some(beside), Some(aim))
    }

    /// What a suspended thread holds.
    pub fn memory(what: &str, figures: &Figures, aim: Option<f64>) -> [Row; 3] {
        let group = "suspended thread";
        let row = |figure: &str, value, aim| {
            Row::new(group, &format!("{figure}, {what}"), value, None, aim)
        };
        [
            row("resident", (figures.resident / 1024.0, "KiB"), aim),
            row("page tables", (figures.page_tables / 1024.0, "KiB"), None),
            row("shutdown", (figures.shutdown, "ns"), None),
        ]
    }
}

impl Beside {
    fn new(what: &str, figure: f64, ratio: Spread) -> Beside {
        Beside {
            what: what.into(),
            figure,
            ratio: ratio.median,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
        }
    }
}

/// Prints `rows` as Markdown, and writes them to `json` if it is given.
pub fn publish(rows: &[Row], json: Option<&Path>) -> Result<()> {
    println!("{}", markdown(rows));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "rows": rows }))?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// All rows as one Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "what",
        "figure",
        "beside",
        "figure",
        "ratio",
        "quartiles",
        "aim",
        "met",
    ]);
    for column in [2, 4, 5, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut group = "";
    for row in rows {
        let beside = row.beside.as_ref();
        let cell = |f: &dyn Fn(&Beside) -> String| beside.map(f).unwrap_or_default();
        table.add_row([
            if row.group == group { "" } else { row.group }.to_string(),
            row.what.clone(),
            with_unit(row.figure, row.unit),
            cell(&|beside| beside.what.clone()),
            cell(&|beside| with_unit(beside.figure, row.unit)),
            cell(&|beside| format!("{:.2}", beside.ratio)),
            cell(&|beside| format!("{:.2} to {:.2}", beside.ratio_low, beside.ratio_high)),
            row.aim.map(|aim| format!("{aim}")).unwrap_or_default(),
            match row.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            }
            .into(),
        ]);
        group = row.group;
    }
    table.to_string()
}

fn with_unit(figure: f64, unit: &str) -> String {
    match unit {
        "ns" if figure >= 1e6 => format!("{:.2} ms", figure / 1e6),
        "ns" if figure >= 1e4 => format!("{:.1} us", figure / 1e3),
        "ns" if figure < 100.0 => format!("{figure:.1} ns"),
        "ns" => format!("{figure:.0} ns"),
        _ => format!("{figure:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &'static str, nanos: f64) -> Samples {
        Samples {
            name,
            nanos: vec![nanos; 3],
        }
    }

    #[test]
    fn an_aim_is_met_up_to_its_value() -> Result<()> {
        let samples = [samples("a", 10.0), samples("b", 5.0)];
        let met = |aim| wasmtime::error::Ok(Row::pair("", &samples, "a", "b", Some(aim))?.met);
        assert_eq!(met(1.9)?, Some(false));
        assert_eq!(met(2.0)?, Some(true));
        Ok(())
    }

    #[test]
    fn a_subject_that_is_not_there_is_an_error() {
        assert!(Row::alone("", &[samples("a", 1.0)], "b").is_err());
    }

    #[test]
    fn markdown_has_a_line_per_row() -> Result<()> {
        let samples = [samples("a", 12_345.0), samples("b", 5.0)];
        let rows = [
            Row::pair("g", &samples, "a", "b", Some(2.0))?,
            Row::alone("g", &samples, "b")?,
        ];
        let text = markdown(&rows);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("12.3 us") && text.contains("NO"), "{text}");
        Ok(())
    }
}
