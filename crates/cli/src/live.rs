//! The live view on a terminal: a line for each thread.
//!
//! All lines are the message of a single progress bar, so that they are drawn together.
//! With many bars, indicatif would skip some to draw less often.

use crate::names;
use crate::times::share;
use console::{Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// The most threads with a line of their own.
const MOST_ROWS: usize = 12;

/// How many characters wide a full share is.
const BAR: usize = 20;

pub struct Live {
    view: ProgressBar,
    /// The names of the threads with a line.
    names: Vec<String>,
}

/// What to show of a thread.
pub struct Row {
    pub state: String,
    /// Set if it is parked.
    pub waits_for: Option<String>,
    pub finished: bool,
    pub cpu_time: Duration,
    pub slices: u64,
}

impl Live {
    /// A view on stderr of threads with these names. It is not on the screen yet.
    pub fn new(names: &[String]) -> Self {
        Live::on(ProgressDrawTarget::stderr(), names)
    }

    fn on(target: ProgressDrawTarget, names: &[String]) -> Self {
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        Live {
            view: ProgressBar::with_draw_target(None, target).with_style(style),
            names: names.iter().take(MOST_ROWS).cloned().collect(),
        }
    }

    /// What the console must take off the screen to write a line, and at the end.
    pub fn view(&self) -> ProgressBar {
        self.view.clone()
    }

    /// What the view should show for the threads' current state.
    pub fn text(&self, rows: &[Row]) -> String {
        let columns = Term::stderr().size_checked();
        let columns = columns.map_or(usize::MAX, |(_rows, columns)| columns.into());
        self.text_within(columns, rows)
    }

    fn text_within(&self, columns: usize, rows: &[Row]) -> String {
        let lines: Vec<String> = self
            .lines(columns, rows)
            .map(|line| truncate_str(&line, columns, "…").into_owned())
            .collect();
        lines.join("\n")
    }

    fn lines(&self, columns: usize, rows: &[Row]) -> impl Iterator<Item = String> {
        let total = rows.iter().map(|row| row.cpu_time).sum();
        let names = names::column(&self.names, columns / 3);
        let shown = names.into_iter().zip(rows).map(move |(name, row)| {
            let share = share(row.cpu_time, total);
            let bar = "█".repeat((share * BAR as f64).round() as usize);
            let waits_for = row.waits_for.as_ref();
            let waits_for = waits_for.map(|what| format!("  waits for {what}"));
            format!(
                "{name}  {:9} {bar:BAR$} {:3.0} % {:8.2} s {:>7} slices{}",
                row.state,
                share * 100.0,
                row.cpu_time.as_secs_f64(),
                row.slices,
                waits_for.unwrap_or_default(),
            )
        });
        let rest = &rows[self.names.len()..];
        let finished = rest.iter().filter(|row| row.finished).count();
        let others = (!rest.is_empty())
            .then(|| format!("and {} more, {finished} of them finished", rest.len()));
        shown.chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    fn live(term: &InMemoryTerm, threads: usize) -> Live {
        let names: Vec<String> = (1..=threads).map(|n| format!("{n} guest.wat")).collect();
        Live::on(
            ProgressDrawTarget::term_like(Box::new(term.clone())),
            &names,
        )
    }

    fn draw(live: &Live, rows: &[Row]) {
        live.view.set_message(live.text(rows));
    }

    fn row(cpu_ms: u64, state: &str) -> Row {
        Row {
            state: state.to_string(),
            waits_for: (state == "parked").then(|| "a host function".to_string()),
            finished: !["running", "parked"].contains(&state),
            cpu_time: Duration::from_millis(cpu_ms),
            slices: cpu_ms / 10,
        }
    }

    #[test]
    fn each_thread_has_a_line_with_its_share() {
        let term = InMemoryTerm::new(20, 100);
        let live = live(&term, 2);
        draw(&live, &[row(1500, "running"), row(500, "returned")]);
        assert_eq!(
            term.contents(),
            "1 guest.wat  running   ███████████████       75 %     1.50 s     150 slices\n\
             2 guest.wat  returned  █████                 25 %     0.50 s      50 slices"
        );
    }

    #[test]
    fn long_names_leave_room_for_the_rest() {
        let names = ["1 素数".repeat(30), "2 b".to_string()];
        let live = Live::on(ProgressDrawTarget::hidden(), &names);
        let text = live.text_within(96, &[row(10, "running"), row(10, "running")]);
        for line in text.lines() {
            assert!(line.ends_with(" slices"), "{line}");
            let (name, _) = line.split_once("  running").unwrap();
            assert_eq!(console::measure_text_width(name), 32, "{line}");
        }
        assert!(text.contains("…"), "{text}");
    }

    #[test]
    fn line_of_a_parked_thread_tells_what_it_waits_for() {
        let term = InMemoryTerm::new(20, 120);
        let live = live(&term, 1);
        draw(&live, &[row(0, "parked")]);
        let line = term.contents();
        assert!(line.contains("  parked  "), "{line}");
        assert!(
            line.ends_with("slices  waits for a host function"),
            "{line}"
        );
    }

    #[test]
    fn many_threads_share_the_last_line() {
        let term = InMemoryTerm::new(40, 100);
        let live = live(&term, 100);
        let mut rows: Vec<Row> = (0..99).map(|_| row(10, "running")).collect();
        rows.push(row(10, "trapped"));
        draw(&live, &rows);
        let screen = term.contents();
        assert_eq!(screen.lines().count(), MOST_ROWS + 1, "{screen}");
        assert!(
            screen.ends_with("and 88 more, 1 of them finished"),
            "{screen}"
        );
    }
}
