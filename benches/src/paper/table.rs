//! What was measured, as Markdown tables.

use super::rows::{BesideStock, Build, Report, Row, SHARE_OF_STOCK, Set, geometric_mean, paper};
use super::server::Mode;
use crate::paired::Spread;
use comfy_table::{CellAlignment, Table, presets};

const MODES: [Mode; 3] = [Mode::Fuel, Mode::Epoch, Mode::Signal];

/// All tables of `report` that are not empty.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    if !report.workloads(Set::Paper).is_empty() {
        text += &format!("{}\n", papers(report));
    }
    if !report.workloads(Set::Broad).is_empty() {
        text += &format!("\n{}\n\n{}", broad(report), verdicts(report));
    }
    text + "\n" + &noise(report)
}

/// The table in the paper's form: a line per workload and mode.
pub fn papers(report: &Report) -> Table {
    let threads = report.thread_counts(Set::Paper);
    let mut header: Vec<String> = ["workload", "mode", "paper", "stock", "ours"]
        .map(String::from)
        .into();
    header.extend(threads.iter().map(|count| match count {
        1 => "1 thread".into(),
        _ => format!("{count} threads"),
    }));
    header.extend(["aim", ""].map(String::from));
    let mut table = table(&header, 2);

    for (workload, what) in report.workloads(Set::Paper) {
        let mut first = what;
        for mode in MODES {
            let row = |build, threads| report.row(workload, build, mode, threads);
            let rows = ours(report, workload, mode);
            if rows.is_empty() {
                continue;
            }
            let mut cells = vec![
                std::mem::take(&mut first).into(),
                mode.to_string(),
                paper(workload, mode).map_or(String::new(), |ratio| format!("{ratio:.2}")),
                ratio(row(Build::Stock, 0)),
                ratio(row(Build::Ours, 0)),
            ];
            cells.extend(threads.iter().map(|count| ratio(row(Build::Ours, *count))));
            let aim = rows[0].aim;
            cells.push(aim.map_or(String::new(), |aim| format!("{aim:.2}")));
            cells.push(verdict(&rows));
            table.add_row(cells);
        }
    }
    table
}

/// What was measured of this build: calls, and numbers of threads.
pub fn ours<'a>(report: &'a Report, workload: &str, mode: Mode) -> Vec<&'a Row> {
    let threads = report.thread_counts(Set::Paper);
    let counts = [0].into_iter().chain(threads);
    counts
        .filter_map(|count| report.row(workload, Build::Ours, mode, count))
        .collect()
}

/// Whether all of a line meet their aim, and which do not.
pub fn verdict(rows: &[&Row]) -> String {
    let missed: Vec<String> = rows
        .iter()
        .filter(|row| row.met == Some(false))
        .map(|row| match row.threads {
            0 => "calls".into(),
            1 => "1 thread".into(),
            count => format!("{count} threads"),
        })
        .collect();
    match (rows.iter().any(|row| row.met.is_some()), missed.is_empty()) {
        (false, _) => String::new(),
        (true, true) => "met".into(),
        (true, false) if missed.len() == rows.len() => "NOT met".into(),
        (true, false) => format!("NOT met: {}", missed.join(", ")),
    }
}

/// The broader set: a line per workload, and the geometric means.
pub fn broad(report: &Report) -> Table {
    let mut columns: Vec<(String, Build, Mode, usize)> = Vec::new();
    for mode in [Mode::Fuel, Mode::Epoch] {
        columns.push((format!("{mode}: stock"), Build::Stock, mode, 0));
        columns.push((format!("{mode}: ours"), Build::Ours, mode, 0));
    }
    for threads in report.thread_counts(Set::Broad) {
        for mode in MODES {
            let name = format!("{threads} threads: {mode}");
            columns.push((name, Build::Ours, mode, threads));
        }
    }
    columns.retain(|(_, build, mode, threads)| !report.broad(*build, *mode, *threads).is_empty());

    let names = columns.iter().map(|(name, ..)| name.clone());
    let header: Vec<String> = ["workload".into(), String::new()]
        .into_iter()
        .chain(names)
        .collect();
    let mut table = table(&header, 2);
    for (workload, what) in report.workloads(Set::Broad) {
        let rows = columns
            .iter()
            .map(|(_, build, mode, threads)| ratio(report.row(workload, *build, *mode, *threads)));
        let first = [workload.to_string(), what.to_string()];
        table.add_row(first.into_iter().chain(rows));
    }
    let mut add = |name: &str, figure: &dyn Fn(&[f64]) -> Option<f64>| {
        let cells = columns.iter().map(|(_, build, mode, threads)| {
            figure(&report.broad(*build, *mode, *threads))
                .map_or(String::new(), |figure| format!("{figure:.2}"))
        });
        let first = [name.to_string(), String::new()];
        table.add_row(first.into_iter().chain(cells));
    };
    add("geometric mean", &geometric_mean);
    add("worst", &|ratios| ratios.iter().copied().reduce(f64::max));
    table
}

/// Whether the aims of the broader set are met, a line each.
pub fn verdicts(report: &Report) -> String {
    let mut text = String::new();
    for mode in [Mode::Fuel, Mode::Epoch] {
        let Some(beside) = report.beside_stock(mode) else {
            continue;
        };
        text += &format!(
            "- {mode}: overhead {:.1} % in the geometric mean, stock {:.1} %: {}.\n",
            (beside.ours - 1.0) * 100.0,
            (beside.stock - 1.0) * 100.0,
            share(&beside)
        );
        if beside.slower.is_empty() {
            text += &format!("- {mode}: no workload slower than in stock: met.\n");
        } else {
            text += &format!("- {mode}: no workload slower than in stock: NOT met:\n");
        }
        for slower in &beside.slower {
            let (workload, ours, stock) = (&slower.workload, slower.ours, slower.stock);
            text += &format!("  - {workload}: {ours:.2}, in stock {stock:.2}\n");
        }
    }
    text
}

fn share(beside: &BesideStock) -> String {
    format!(
        "{:.2} of it, {} (aim: {SHARE_OF_STOCK})",
        beside.share(),
        if beside.met() { "met" } else { "NOT met" }
    )
}

/// What the method makes of no difference.
pub fn noise(report: &Report) -> String {
    let baselines = report.rows.iter().filter(|row| row.mode == Mode::Baseline);
    let (ratios, widths): (Vec<f64>, Vec<f64>) = baselines
        .map(|row| (row.ratio, row.spread[1] - row.spread[0]))
        .unzip();
    let Some(mean) = geometric_mean(&ratios) else {
        return String::new();
    };
    let widths = Spread::of(widths);
    format!(
        "The baseline beside itself has a ratio of {mean:.3} in the geometric mean. Its quartiles\n\
         are typically {:.3} apart.\n",
        widths.median
    )
}

/// The median, and the quartiles.
fn ratio(row: Option<&Row>) -> String {
    row.map_or(String::new(), |row| {
        let [low, high] = row.spread;
        format!("{:.2} ({low:.2} to {high:.2})", row.ratio)
    })
}

/// The columns from `figures` on are aligned to the right.
fn table(header: &[String], figures: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in figures..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{row, sample};
    use super::*;

    #[test]
    fn papers_table_has_a_line_per_workload_and_mode() {
        let text = papers(&sample()).to_string();
        assert_eq!(text.lines().count(), 2 + 3 * 3, "{text}");
        let line = |words: [&str; 2]| {
            let mut lines = text.lines();
            lines.find(|line| words.iter().all(|word| line.contains(word)))
        };
        let fib = line(["fib", "fuel"]).expect("there is one of fib and fuel");
        for cell in [
            "1.19 |",
            "1.60 (1.59 to 1.61)",
            "1.29 (1.28 to 1.30)",
            "met",
        ] {
            assert!(fib.contains(cell), "{cell}: {fib}");
        }
        assert!(!fib.contains("NOT"), "{fib}");
        let dot = line(["dot", "fuel"]).expect("there is one of dot and fuel");
        assert!(dot.contains("NOT met: calls"), "{dot}");
    }

    #[test]
    fn verdict_names_what_is_missed() {
        let rows = |calls, threads| {
            [(0, calls), (2, threads)]
                .map(|(threads, ratio)| row("fib", Build::Ours, Mode::Fuel, threads, ratio))
        };
        let text = |rows: [Row; 2]| verdict(&rows.iter().collect::<Vec<_>>());
        assert_eq!(text(rows(1.2, 1.2)), "met");
        assert_eq!(text(rows(1.2, 1.4)), "NOT met: 2 threads");
        assert_eq!(text(rows(1.4, 1.4)), "NOT met");
        assert_eq!(
            verdict(&[&row("sort", Build::Ours, Mode::Fuel, 0, 2.0)]),
            ""
        );
    }

    #[test]
    fn broad_table_ends_with_the_geometric_means() {
        let text = broad(&sample()).to_string();
        assert_eq!(text.lines().count(), 2 + 2 + 2, "{text}");
        assert!(
            text.contains("geometric mean") && text.contains("2 threads: signal"),
            "{text}"
        );
        let text = verdicts(&sample());
        assert!(
            text.contains("fuel: overhead 29.0 % in the geometric mean, stock 60.0 %"),
            "{text}"
        );
        assert!(
            text.contains("0.48 of it, met") && text.contains("no workload slower"),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let mut report = sample();
        report
            .rows
            .retain(|row| row.build == Build::Ours && row.set == Set::Paper);
        let printed = text(&report);
        assert!(
            !printed.contains("worst") && !printed.contains("1.60"),
            "{printed}"
        );
    }
}
