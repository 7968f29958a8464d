//! The table of the threads, at most as wide as the terminal.

use crate::names;
use crate::outcome::Outcome;
use crate::thread::Thread;
use crate::values;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use console::{measure_text_width, truncate_str};

/// The space between two columns.
const GAP: usize = 2;

/// The most results of a function in one cell.
const MOST_RESULTS: usize = 8;

struct Column {
    title: &'static str,
    cells: Vec<String>,
    kind: Kind,
    /// Columns with the highest rank are left out first; those without a rank never.
    rank: u8,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Cells are cut if there is no room, but not below this many characters.
    Text(usize),
    Figure,
}

/// A table with a line per thread. `width` is the terminal's; `None` if there is none.
pub fn table(threads: &[Thread], width: Option<u16>) -> Table {
    let mut columns = columns(threads);
    if let Some(width) = width {
        fit(&mut columns, width.into());
    }
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_header(columns.iter().map(|column| column.title));
    for row in 0..threads.len() {
        table.add_row(columns.iter().map(|column| &*column.cells[row]));
    }
    let last = columns.len() - 1;
    for (index, column) in columns.iter().enumerate() {
        let Some(formatted) = table.column_mut(index) else {
            continue;
        };
        let gap = GAP as u16;
        formatted.set_padding((0, if index == last { 0 } else { gap }));
        if column.kind == Kind::Figure {
            formatted.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn columns(threads: &[Thread]) -> Vec<Column> {
    let column = |title, rank, kind, cell: fn(&Thread) -> String| Column {
        title,
        cells: threads.iter().map(cell).collect(),
        kind,
        rank,
    };
    let mut columns = vec![
        column("thread", 0, Kind::Figure, |thread| {
            thread.thread.to_string()
        }),
        column("guest", 0, Kind::Text(12), |thread| {
            names::name(&thread.guest)
        }),
        column("exit", 0, Kind::Text(8), |thread| thread.outcome.shown()),
        column("results", 1, Kind::Text(8), |thread| {
            match &thread.outcome {
                Outcome::Returned(results) => values::list(results, MOST_RESULTS),
                _ => String::new(),
            }
        }),
        column("threads", 3, Kind::Figure, |thread| {
            thread.threads.unwrap_or(1).to_string()
        }),
        column("CPU time", 2, Kind::Figure, |thread| {
            format!("{:.3} s", thread.cpu_time.as_secs_f64())
        }),
        column("slices", 4, Kind::Figure, |thread| {
            thread.slices.to_string()
        }),
        column("preemptions", 6, Kind::Figure, |thread| {
            thread.preemptions.to_string()
        }),
        column("throttled", 4, Kind::Figure, |thread| {
            format!("{} times", thread.throttles.unwrap_or(0))
        }),
        column("share", 5, Kind::Figure, |thread| {
            format!("{:.1} %", thread.share * 100.0)
        }),
    ];
    // Columns that would say nothing.
    let counts_threads = threads.iter().any(|thread| thread.threads.is_some());
    let throttled = threads.iter().any(|thread| thread.throttles.is_some());
    columns.retain(|column| match column.title {
        "throttled" => throttled,
        "threads" => counts_threads,
        "results" => column.cells.iter().any(|cell| !cell.is_empty()),
        _ => true,
    });
    columns
}

/// Cuts text, and leaves out columns if that is not enough.
fn fit(columns: &mut Vec<Column>, width: usize) {
    loop {
        let gaps = GAP * (columns.len() - 1);
        let least: usize = columns.iter().map(Column::least).sum();
        if least + gaps <= width {
            break;
        }
        let ranks = columns.iter().enumerate().map(|(i, c)| (c.rank, i));
        match ranks.max() {
            Some((1.., index)) => columns.remove(index),
            _ => break,
        };
    }
    let mut over = {
        let all: usize = columns.iter().map(Column::width).sum();
        (all + GAP * (columns.len() - 1)).saturating_sub(width)
    };
    while over > 0 {
        // The widest column that can be cut.
        let widest = columns.iter_mut().max_by_key(|column| column.spare());
        let Some(column) = widest.filter(|column| column.spare() > 0) else {
            break;
        };
        let to = column.width() - 1;
        column.cut(to);
        over -= 1;
    }
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| measure_text_width(cell));
        cells.max().unwrap_or(0).max(self.title.len())
    }

    fn least(&self) -> usize {
        match self.kind {
            Kind::Text(least) => self.width().min(least.max(self.title.len())),
            Kind::Figure => self.width(),
        }
    }

    fn spare(&self) -> usize {
        self.width() - self.least()
    }

    fn cut(&mut self, width: usize) {
        for cell in &mut self.cells {
            *cell = truncate_str(cell, width, "…").into_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::report::samples::{every_outcome, report};

    #[test]
    fn table_has_a_line_for_each_thread() {
        let text = every_outcome().text(None);
        let line = |guest: &str| text.lines().find(|line| line.contains(guest)).unwrap();
        let words = |guest| line(guest).split_whitespace().collect::<Vec<_>>();
        let figures = ["0.002", "s", "4", "3", "25.0", "%"];
        assert_eq!(
            words("guest1"),
            [
                &["1", "guest1.wat:run", "returned", "-1,", "0.5"],
                &figures[..]
            ]
            .concat()
        );
        assert_eq!(
            words("guest2"),
            [&["2", "guest2.wat:run", "exited", "3"], &figures[..]].concat()
        );
        assert!(line("guest3").contains("trapped"));
        assert!(line("guest4").contains("stopped"));
        assert!(line("guest5").contains(" over its fuel limit of 1000 units "));
    }

    #[test]
    fn table_fits_the_terminal_and_stays_readable() {
        let mut report = every_outcome();
        report.threads[0].guest = "a/long/path/to/a/guest.wat:with_an_export(1, 2)".to_string();
        report.threads[1].guest = "素数".repeat(20);
        let table = |report: &Report, width| {
            let table = table(&report.threads, Some(width)).trim_fmt();
            table.lines().map(str::to_string).collect::<Vec<_>>()
        };
        for width in [200, 100, 80, 60, 40, 36] {
            let lines = table(&report, width);
            // One line per thread, the header and the rule.
            assert_eq!(lines.len(), 2 + report.threads.len(), "{lines:#?}");
            for line in &lines {
                assert!(
                    measure_text_width(line) <= width.into(),
                    "{width}: {lines:#?}"
                );
            }
            assert!(lines[0].starts_with("thread  guest "), "{lines:#?}");
            assert!(lines[3].contains("  exited 3"), "{lines:#?}");
        }
        assert!(table(&report, 80)[0].contains("CPU time"));
        assert!(table(&report, 80)[2].contains("…"));
        // It gets no narrower than this.
        assert_eq!(table(&report, 1), table(&report, 36));
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let header = |report: &Report| {
            let table = table(&report.threads, None).trim_fmt();
            table.lines().next().unwrap().to_string()
        };
        assert!(header(&every_outcome()).contains("results"));
        let mut report = report(vec![Outcome::Stopped, Outcome::Returned(vec![])]);
        assert!(!header(&report).contains("results"));
        assert!(!header(&report).contains("threads"));
        report.threads[0].threads = Some(1);
        assert!(header(&report).contains("  threads  "));
    }
}
