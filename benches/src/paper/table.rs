//! What was measured, as Markdown tables.

use super::report::{BesideStock, Line, Report, SHARE_OF_STOCK, geometric_mean, paper};
use crate::overhead::case::{Build, Set};
use crate::paired::Spread;
use crate::served::Mode;
use crate::table::{self, Table, or_empty};

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
    let mut table = Table::new(header, 1, &[0, 1]);

    for (workload, what) in report.workloads(Set::Paper) {
        for mode in MODES {
            let line = |build, threads| report.line(workload, build, mode, threads);
            let ours = ours(report, workload, mode);
            if ours.is_empty() {
                continue;
            }
            let mut cells = vec![
                what.to_string(),
                mode.to_string(),
                or_empty(paper(workload, mode), |ratio| format!("{ratio:.2}")),
                ratio(line(Build::Stock, 0)),
                ratio(line(Build::Ours, 0)),
            ];
            cells.extend(threads.iter().map(|count| ratio(line(Build::Ours, *count))));
            cells.push(or_empty(ours[0].row.aim, |aim| format!("{aim:.2}")));
            cells.push(verdict(&ours));
            table.add(cells);
        }
    }
    table
}

/// What was measured of this build: calls, and numbers of threads.
pub fn ours<'a>(report: &'a Report, workload: &str, mode: Mode) -> Vec<Line<'a>> {
    let threads = report.thread_counts(Set::Paper);
    let counts = [0].into_iter().chain(threads);
    counts
        .filter_map(|count| report.line(workload, Build::Ours, mode, count))
        .collect()
}

/// Whether all of a line meet their aim, and which do not.
pub fn verdict(lines: &[Line<'_>]) -> String {
    let missed: Vec<String> = lines
        .iter()
        .filter(|line| line.row.met == Some(false))
        .map(|line| match line.of.case.thread_count() {
            0 => "calls".into(),
            1 => "1 thread".into(),
            count => format!("{count} threads"),
        })
        .collect();
    match (
        lines.iter().any(|line| line.row.met.is_some()),
        missed.len(),
    ) {
        (false, _) => String::new(),
        (true, 0) => table::verdict(true),
        (true, count) if count == lines.len() => table::verdict(false),
        (true, _) => format!("{}: {}", table::verdict(false), missed.join(", ")),
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
    let mut table = Table::new(header, 1, &[0, 1]);
    for (workload, what) in report.workloads(Set::Broad) {
        let rows = columns
            .iter()
            .map(|(_, build, mode, threads)| ratio(report.line(workload, *build, *mode, *threads)));
        let first = [workload.to_string(), what.to_string()];
        table.add(first.into_iter().chain(rows));
    }
    let mut add = |name: &str, figure: &dyn Fn(&[f64]) -> Option<f64>| {
        let cells = columns.iter().map(|(_, build, mode, threads)| {
            let figure = figure(&report.broad(*build, *mode, *threads));
            or_empty(figure, |figure| format!("{figure:.2}"))
        });
        let first = [name.to_string(), String::new()];
        table.add(first.into_iter().chain(cells));
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
        table::verdict(beside.met())
    )
}

/// What the method makes of no difference.
pub fn noise(report: &Report) -> String {
    let lines = report.lines();
    let baselines = lines.filter(|line| line.of.case.mode == Mode::Baseline);
    let (ratios, widths): (Vec<f64>, Vec<f64>) = baselines
        .map(|line| (line.ratio.median, line.ratio.high - line.ratio.low))
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
fn ratio(line: Option<Line<'_>>) -> String {
    or_empty(line, |line| {
        let Spread { low, median, high } = line.ratio;
        format!("{median:.2} ({low:.2} to {high:.2})")
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{of, row, sample};
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
        let verdict = |workload, ratios: [(usize, f64); 2]| {
            let rows = ratios
                .map(|(threads, ratio)| row(workload, Build::Ours, Mode::Fuel, threads, ratio));
            let report = Report {
                rows: rows.into(),
                ..sample()
            };
            verdict(&report.lines().collect::<Vec<_>>())
        };
        assert_eq!(verdict("fib", [(0, 1.2), (2, 1.2)]), "met");
        assert_eq!(verdict("fib", [(0, 1.2), (2, 1.4)]), "NOT met: 2 threads");
        assert_eq!(verdict("fib", [(0, 1.4), (2, 1.4)]), "NOT met");
        assert_eq!(verdict("sort", [(0, 2.0), (2, 2.0)]), "");
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
            .retain(|row| of(row).case.build == Build::Ours && of(row).set == Set::Paper);
        let printed = text(&report);
        assert!(
            !printed.contains("worst") && !printed.contains("1.60"),
            "{printed}"
        );
    }
}
