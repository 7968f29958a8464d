//! What was measured, as Markdown.

use super::distribution::{Distribution, Figures, nanos};
use super::slices::Slices;
use super::switch::Switch;
use super::workloads::Row;
use comfy_table::{CellAlignment, Table, presets};

pub fn workloads(rows: &[Row]) -> String {
    let mut table = table(&[
        "workload",
        "two guests",
        "CPU time",
        "ratio",
        "quartiles",
        "of elapsed time",
        "samples",
        "preemptions",
        "aim",
        "",
    ]);
    let mut workload = "";
    for row in rows {
        table.add_row([
            if row.workload == workload {
                ""
            } else {
                row.workload
            }
            .into(),
            row.mode.into(),
            format!("{:.1} ms", row.millis),
            format!("{:.4}", row.ratio),
            format!("{:.4} to {:.4}", row.ratio_low, row.ratio_high),
            format!("{:.4}", row.wall_ratio),
            row.samples.to_string(),
            format!("{:.0}/s", row.preemptions),
            row.aim.map(|aim| format!("{aim}")).unwrap_or_default(),
            match row.met {
                Some(true) => "met",
                Some(false) => "NOT met",
                None => "",
            }
            .into(),
        ]);
        workload = row.workload;
    }
    table.to_string()
}

pub fn switch(switch: &Switch) -> String {
    let mut table = table(&[
        "", "samples", "", "min", "median", "p90", "p99", "p99.9", "max",
    ]);
    for distribution in switch.all() {
        for figures in distribution.figures() {
            let name = if figures.undisturbed {
                figures.name
            } else {
                ""
            };
            table.add_row([name.to_string()].into_iter().chain(cells(&figures)));
        }
    }
    with_text(&table, switch.all().into_iter().take(4))
}

pub fn slices(all: &[Slices]) -> String {
    let mut table = table(&[
        "slice",
        "shorter",
        "missed",
        "samples",
        "",
        "longer by: min",
        "median",
        "p90",
        "p99",
        "p99.9",
        "max",
    ]);
    for slices in all {
        for figures in slices.longer.figures() {
            let first = if figures.undisturbed {
                let (shorter, missed) = (slices.shorter.to_string(), slices.missed.to_string());
                [figures.name.into(), shorter, missed]
            } else {
                [const { String::new() }; 3]
            };
            table.add_row(first.into_iter().chain(cells(&figures)));
        }
    }
    with_text(&table, all.iter().map(|slices| &slices.longer))
}

fn cells(figures: &Figures) -> [String; 8] {
    let time = |time: u64| match figures.samples {
        0 => "-".into(),
        _ => nanos(time as f64),
    };
    [
        figures.samples.to_string(),
        if figures.undisturbed {
            "undisturbed"
        } else {
            "all"
        }
        .into(),
        time(figures.min),
        time(figures.median),
        time(figures.p90),
        time(figures.p99),
        time(figures.p999),
        time(figures.max),
    ]
}

/// The table, and a histogram of each distribution.
fn with_text<'a>(table: &Table, all: impl Iterator<Item = &'a Distribution>) -> String {
    let mut text = format!("{table}\n");
    for distribution in all {
        text += "\n";
        text += &distribution.text();
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in 1..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
