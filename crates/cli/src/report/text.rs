//! The report for human readers.

use super::{Report, Searched, Traced};
use crate::mode;
use crate::names;
use crate::picks::Replayed;
use crate::table::table;
use crate::thread::Thread;
use console::Term;
use std::fmt::Write as _;
use wasmtime::Result;

impl Report {
    /// The report, as printed to stdout.
    pub fn shown(&self, json: bool) -> Result<String> {
        if json {
            return self.json();
        }
        let terminal = Term::stdout().size_checked();
        Ok(self.text(terminal.map(|(_rows, columns)| columns)))
    }

    /// The report for human readers. `width` is the terminal's; `None` if there is none.
    pub fn text(&self, width: Option<u16>) -> String {
        let mut text = String::new();
        if let Some(Searched {
            first_seed,
            runs,
            found: None,
        }) = self.searched
            && self.all_returned()
        {
            let last = first_seed + (runs - 1);
            return format!(
                "all guests returned with each of {runs} seeds, {first_seed} to {last}\n"
            );
        }
        writeln!(text, "{}", table(&self.threads, width).trim_fmt())
            .and_then(|()| self.summary(&mut text))
            .and_then(|()| self.schedule(&mut text))
            .and_then(|()| self.charts(&mut text, width))
            .and_then(|()| self.failures(&mut text))
            .and_then(|()| self.search(&mut text))
            .expect("writing to a string cannot fail");
        text
    }

    /// What went wrong with guests, and what a search found; empty if nothing is to be told.
    pub fn problems(&self) -> String {
        let mut text = String::new();
        self.failures(&mut text)
            .and_then(|()| self.search(&mut text))
            .expect("writing to a string cannot fail");
        text.trim_start_matches('\n').to_string()
    }

    fn summary(&self, text: &mut String) -> std::fmt::Result {
        let end = match self.end {
            "time_up" => "time up",
            "interrupted" => "interrupted",
            "deadlock" => "deadlock",
            "until" => "guests of --until ended",
            _ => "all finished",
        };
        write!(
            text,
            "{end} after {:.3} s ({} preemption, slices of {}",
            self.elapsed.as_secs_f64(),
            self.preemption,
            mode::show(self.slice)
        )?;
        if self.policy != "round-robin" {
            write!(text, ", policy {}", self.policy)?;
        }
        if let Some(seed) = self.seed {
            write!(text, ", seed {seed}")?;
        }
        writeln!(text, ")")
    }

    /// What went wrong with replaying or recording the schedule.
    fn schedule(&self, text: &mut String) -> std::fmt::Result {
        if let Some(Replayed { divergence, left }) = self.replayed {
            match divergence {
                Some(divergence) => writeln!(text, "{divergence}")?,
                None if left > 0 => {
                    writeln!(text, "{left} picks of the schedule were not reached")?
                }
                None => writeln!(text, "all picks were made as recorded")?,
            }
        }
        if let Some(Traced { events, lost }) = self.traced
            && lost > 0
        {
            let all = lost.saturating_add(events as u64);
            writeln!(
                text,
                "the trace has the last {events} of {all} events; --trace-events makes room for more"
            )?;
        }
        Ok(())
    }

    fn charts(&self, text: &mut String, width: Option<u16>) -> std::fmt::Result {
        let Some(interleaving) = &self.interleaving else {
            return Ok(());
        };
        let label = |thread: &Thread| format!("{} {}", thread.thread, names::name(&thread.guest));
        let labels: Vec<String> = self.threads.iter().map(label).collect();
        let width = width.map_or(usize::MAX, usize::from);
        if let Some(first) = &interleaving.first {
            write!(text, "\n{}", first.text("the first steps", &labels, width))?;
        }
        let whole = &interleaving.whole;
        write!(text, "\n{}", whole.text("the whole run", &labels, width))
    }

    /// What `--search` found.
    fn search(&self, text: &mut String) -> std::fmt::Result {
        let Some(Searched {
            runs,
            found: Some(seed),
            ..
        }) = self.searched
        else {
            return Ok(());
        };
        let bad = |thread: &&Thread| !thread.outcome.is_success();
        let what = match (self.end, self.threads.iter().find(bad)) {
            ("deadlock", _) => "deadlock".to_string(),
            (_, Some(thread)) => {
                format!("{} {}", names::name(&thread.guest), thread.outcome.word())
            }
            (_, None) => "all returned".to_string(),
        };
        let nth = match runs {
            1 => "the first seed".to_string(),
            2 => "after 1 seed with which all returned".to_string(),
            _ => format!("after {} seeds with which all returned", runs - 1),
        };
        writeln!(
            text,
            "\nseed {seed}: {what} ({nth}); --seed {seed} without --search repeats this run"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::report;
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn search_is_told_of_at_last() {
        let search = |outcome, found| {
            let mut report = report(vec![Outcome::Returned(vec![]), outcome]);
            report.searched = Some(Searched {
                first_seed: 5,
                runs: 3,
                found,
            });
            report.text(None)
        };
        let text = search(Outcome::Exited(3), Some(7));
        let expected = "\nseed 7: guest2.wat:run exited 3 (after 2 seeds with which all returned); \
            --seed 7 without --search repeats this run\n";
        assert!(text.ends_with(expected), "{text}");
        let text = search(Outcome::Returned(vec![]), None);
        assert_eq!(text, "all guests returned with each of 3 seeds, 5 to 7\n");
        // By Ctrl-C.
        let text = search(Outcome::Stopped, None);
        assert!(!text.contains("seed"), "{text}");
    }
}
