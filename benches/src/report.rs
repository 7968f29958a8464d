//! Rows of figures with aims, as Markdown and as JSON.

use crate::overhead::case::Overhead;
use crate::paired::{Samples, Spread, named};
use crate::table::{Table, or_empty, verdict, with_unit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// Something that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub group: String,
    pub what: String,
    /// Its figure, in `unit`.
    pub figure: f64,
    pub unit: String,
    /// What it is compared with.
    pub beside: Option<Beside>,
    /// What `figure`, or its ratio where there is one, should not be above.
    pub aim: Option<f64>,
    pub met: Option<bool>,
    /// If it is of a workload.
    #[serde(flatten)]
    pub overhead: Option<Overhead>,
}

/// The other side of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    pub what: String,
    pub figure: f64,
    pub ratio: Spread,
}

impl Row {
    pub fn new(
        group: &str,
        what: &str,
        (figure, unit): (f64, &str),
        beside: Option<Beside>,
        aim: Option<f64>,
    ) -> Row {
        let judged = beside.as_ref().map_or(figure, |beside| beside.ratio.median);
        Row {
            group: group.into(),
            what: what.into(),
            figure,
            unit: unit.into(),
            beside,
            aim,
            met: aim.map(|aim| judged <= aim),
            overhead: None,
        }
    }

    /// One subject beside another.
    pub fn pair(
        group: &str,
        samples: &[Samples],
        what: &str,
        beside: &str,
        aim: Option<f64>,
    ) -> Result<Row> {
        let (this, other) = (named(samples, what)?, named(samples, beside)?);
        let beside = Beside {
            what: beside.into(),
            figure: other.median(),
            ratio: this.ratio(other),
        };
        Ok(Row::new(
            group,
            what,
            (this.median(), "ns"),
            Some(beside),
            aim,
        ))
    }

    /// One subject by itself.
    pub fn alone(group: &str, samples: &[Samples], what: &str) -> Result<Row> {
        let figure = (named(samples, what)?.median(), "ns");
        Ok(Row::new(group, what, figure, None, None))
    }
}

/// Prints `rows` as Markdown, and writes them to `json` if it is given.
pub fn publish(rows: &[Row], json: Option<&Path>) -> Result<()> {
    println!("{}", markdown(rows));
    match json {
        Some(path) => write_json(path, &serde_json::json!({ "rows": rows })),
        None => Ok(()),
    }
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// All rows as one Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let header = [
        "",
        "what",
        "figure",
        "beside",
        "figure",
        "ratio",
        "quartiles",
        "aim",
        "",
    ];
    let mut table = Table::new(header, 1, &[0, 1, 3, 6, 8]);
    for row in rows {
        let figure = |figure| with_unit(figure, &row.unit);
        let [what, its, ratio, quartiles] = match &row.beside {
            Some(Beside {
                what,
                figure: its,
                ratio,
            }) => [
                what.clone(),
                figure(*its),
                format!("{:.2}", ratio.median),
                format!("{:.2} to {:.2}", ratio.low, ratio.high),
            ],
            None => Default::default(),
        };
        table.add([
            row.group.clone(),
            row.what.clone(),
            figure(row.figure),
            what,
            its,
            ratio,
            quartiles,
            or_empty(row.aim, |aim| aim.to_string()),
            or_empty(row.met, verdict),
        ]);
    }
    table.to_string()
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
        assert!(
            text.contains("12.3 us") && text.contains("NOT met"),
            "{text}"
        );
        Ok(())
    }
}
