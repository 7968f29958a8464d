//! The outcome of the run, as a table or as JSON.

use crate::interleaving::Interleaving;
use crate::mode;
use crate::names;
use crate::outcome::Outcome;
use crate::policy::Replayed;
use crate::table::table;
use crate::times::milliseconds as in_milliseconds;
use console::Term;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::time::Duration;
use wasmtime::preempt::Trace;
use wasmtime::{Result, Slice};

/// The most threads of a guest to name one by one.
const MOST_OTHERS: usize = 20;

/// The result of a run.
#[derive(Serialize)]
pub struct Report {
    /// `signal`, `epoch` or `fuel`.
    pub preemption: String,
    /// The slice of each thread: `slice_ms` or `slice_fuel`.
    #[serde(flatten, serialize_with = "slice")]
    pub slice: Slice,
    /// The name of the policy.
    pub policy: String,
    /// The seed of the policy's choices, if it left them to chance.
    pub seed: Option<u64>,
    /// How far a replay went.
    #[serde(rename = "replay", skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
    #[serde(rename = "trace", skip_serializing_if = "Option::is_none")]
    pub traced: Option<Traced>,
    /// The outcome of `--search`, up to this run.
    #[serde(rename = "search", skip_serializing_if = "Option::is_none")]
    pub searched: Option<Searched>,
    /// Why the run ended: `all_finished`, `time_up`, `interrupted` or `deadlock`.
    pub end: &'static str,
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// Of all threads together.
    #[serde(rename = "cpu_time_ms", serialize_with = "milliseconds")]
    pub cpu_time: Duration,
    pub slices: u64,
    pub preemptions: u64,
    /// The width of a column of the threads' `interleaving`: `interleaving_step_ms` or
    /// `interleaving_step_fuel`.
    #[serde(flatten, serialize_with = "step")]
    pub interleaving: Option<Interleaving>,
    pub threads: Vec<Thread>,
}

/// How much of the run is in its trace.
#[derive(Serialize)]
pub struct Traced {
    pub events: usize,
    /// Older events, for which there was no room.
    pub lost: u64,
}

impl Traced {
    pub fn of(trace: &Trace) -> Self {
        Traced {
            events: trace.events.len(),
            lost: trace.lost,
        }
    }
}

/// The outcome of `--search`.
#[derive(Clone, Copy, Serialize)]
pub struct Searched {
    pub first_seed: u64,
    /// How many seeds were tried.
    pub runs: u64,
    /// The last of them, if something went wrong with it.
    pub found: Option<u64>,
}

/// One of a guest's threads.
#[derive(Clone, Serialize)]
pub struct Which {
    pub thread: u64,
    /// The guest's name, with a number for all but its first thread.
    pub name: String,
}

/// A thread that has not ended.
#[derive(Serialize)]
pub struct Other {
    #[serde(flatten)]
    pub thread: Which,
    pub waits_for: Option<String>,
}

/// One line of the table.
#[derive(Serialize)]
pub struct Thread {
    pub thread: u64,
    pub guest: String,
    /// How many threads it has had, for a guest that can start threads.
    pub threads: Option<u64>,
    /// Which of them ended it.
    pub ended_by: Option<Which>,
    /// The stopped threads other than its first one.
    #[serde(rename = "other_threads")]
    pub others: Vec<Other>,
    /// What its first thread was waiting for when it was stopped.
    pub waits_for: Option<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(rename = "cpu_time_ms", serialize_with = "milliseconds")]
    pub cpu_time: Duration,
    /// How many times its threads were given the CPU.
    pub slices: u64,
    /// How many times the CPU was taken from them.
    pub preemptions: u64,
    /// Its share of the CPU time of all threads, from 0 to 1.
    pub share: f64,
    /// The fuel it consumed; counted only under `--preemption fuel` or with a limit.
    pub fuel: Option<u64>,
    /// Its share of the CPU time in each step of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interleaving: Option<Vec<f64>>,
}

impl Report {
    pub fn all_returned(&self) -> bool {
        self.threads
            .iter()
            .all(|thread| matches!(thread.outcome, Outcome::Returned(_)))
    }

    /// The report, as printed to stdout.
    pub fn shown(&self, json: bool) -> Result<String> {
        if json {
            return self.json();
        }
        let terminal = Term::stdout().size_checked();
        Ok(self.text(terminal.map(|(_rows, columns)| columns)))
    }

    /// The report for programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
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

    fn summary(&self, text: &mut String) -> std::fmt::Result {
        let end = match self.end {
            "time_up" => "the time was up",
            "interrupted" => "interrupted",
            "deadlock" => "deadlock",
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
        let bad = |thread: &&Thread| !matches!(thread.outcome, Outcome::Returned(_));
        let what = match (self.end, self.threads.iter().find(bad)) {
            ("deadlock", _) => "deadlock".to_string(),
            (_, Some(thread)) => {
                format!("{} {}", names::name(&thread.guest), thread.outcome.word())
            }
            (_, None) => "all returned".to_string(),
        };
        let nth = match runs {
            1 => "the first seed".to_string(),
            2 => "after one with which all returned".to_string(),
            _ => format!("after {} with which all returned", runs - 1),
        };
        writeln!(
            text,
            "\nseed {seed}: {what} ({nth}); --seed {seed} without --search repeats this run"
        )
    }

    /// What the table has no room for.
    fn failures(&self, text: &mut String) -> std::fmt::Result {
        for thread in &self.threads {
            match &thread.outcome {
                Outcome::Trapped { .. } => {
                    write!(text, "\nthread {} trapped: ", thread.culprit())?;
                }
                Outcome::OverLimit(limit) => {
                    let (culprit, used) = (thread.culprit(), limit.used());
                    writeln!(text, "\nthread {culprit} went over {limit}: {used}")?;
                }
                Outcome::Stopped => {
                    if let Some(what) = &thread.waits_for {
                        let (id, guest) = (thread.thread, names::name(&thread.guest));
                        writeln!(text, "\nthread {id} ({guest}) was waiting for {what}")?;
                    }
                    thread.others(text)?;
                }
                _ => {}
            }
            if let Outcome::Trapped { error, backtrace } = &thread.outcome {
                writeln!(text, "{}", names::text(error))?;
                for frame in backtrace {
                    writeln!(text, "    at {}", names::name(frame))?;
                }
            }
        }
        Ok(())
    }
}

impl Thread {
    /// Which of a guest's threads ended it.
    fn culprit(&self) -> String {
        match &self.ended_by {
            Some(Which { thread, name }) => format!("{thread} ({})", names::name(name)),
            None => format!("{} ({})", self.thread, names::name(&self.guest)),
        }
    }

    fn others(&self, text: &mut String) -> std::fmt::Result {
        let waiting = self.others.iter().filter_map(|other| {
            let what = other.waits_for.as_ref()?;
            Some((&other.thread, what))
        });
        for (Which { thread, name }, what) in waiting.clone().take(MOST_OTHERS) {
            let name = names::name(name);
            writeln!(text, "\nthread {thread} ({name}) was waiting for {what}")?;
        }
        match waiting.count().saturating_sub(MOST_OTHERS) {
            0 => Ok(()),
            more => writeln!(text, "\n{more} more of its threads were waiting"),
        }
    }
}

fn slice<S: Serializer>(slice: &Slice, serializer: S) -> Result<S::Ok, S::Error> {
    in_own_unit("slice", Some(*slice), serializer)
}

fn step<S: Serializer>(of: &Option<Interleaving>, serializer: S) -> Result<S::Ok, S::Error> {
    let step = of.as_ref().map(|interleaving| interleaving.whole.step);
    in_own_unit("interleaving_step", step, serializer)
}

/// A field whose name ends with its unit.
fn in_own_unit<S: Serializer>(
    name: &str,
    slice: Option<Slice>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_map(None)?;
    match slice {
        Some(Slice::Time(time)) => {
            fields.serialize_entry(&format!("{name}_ms"), &in_milliseconds(time))?;
        }
        Some(Slice::Fuel(fuel)) => fields.serialize_entry(&format!("{name}_fuel"), &fuel)?,
        _ => {}
    }
    fields.end()
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(in_milliseconds(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limit;
    use console::measure_text_width;
    use wasmtime::Val;
    use wasmtime::preempt::OverLimit;

    fn thread(id: u64, outcome: Outcome) -> Thread {
        Thread {
            thread: id,
            guest: format!("guest{id}.wat:run"),
            threads: None,
            ended_by: None,
            others: Vec::new(),
            waits_for: None,
            outcome,
            cpu_time: Duration::from_micros(1500),
            slices: 4,
            preemptions: 3,
            share: 0.25,
            fuel: None,
            interleaving: None,
        }
    }

    fn report(outcomes: Vec<Outcome>) -> Report {
        let threads = outcomes.into_iter().zip(1..);
        Report {
            preemption: "epoch".to_string(),
            slice: Slice::Time(Duration::from_millis(10)),
            policy: "round-robin".to_string(),
            seed: None,
            replayed: None,
            traced: None,
            searched: None,
            end: "time_up",
            elapsed: Duration::from_secs(2),
            cpu_time: Duration::from_millis(6),
            slices: 16,
            preemptions: 12,
            interleaving: None,
            threads: threads.map(|(o, id)| thread(id, o)).collect(),
        }
    }

    fn every_outcome() -> Report {
        report(vec![
            Outcome::Returned(vec![Val::I32(-1), Val::F64(0.5f64.to_bits())]),
            Outcome::Exited(3),
            Outcome::Trapped {
                error: "no more".to_string(),
                backtrace: vec!["inner".to_string(), "outer".to_string()],
            },
            Outcome::Stopped,
            Outcome::OverLimit(Limit(OverLimit::Fuel {
                limit: 1000,
                used: 1003,
                group: false,
            })),
        ])
    }

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
    fn traps_and_limits_follow_the_table() {
        let text = every_outcome().text(None);
        let expected = "\nthread 3 (guest3.wat:run) trapped: no more\n    at inner\n    at outer\n\
            \nthread 5 (guest5.wat:run) went over its fuel limit of 1000 units: \
            1003 units used\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn those_who_wait_for_each_other_are_named() {
        let mut report = report(vec![Outcome::Stopped, Outcome::Stopped]);
        report.end = "deadlock";
        for (thread, other) in report.threads.iter_mut().zip([2, 1]) {
            thread.waits_for = Some(format!("guest thread {other}"));
        }
        let text = report.text(None);
        assert!(text.contains("\ndeadlock after 2.000 s"), "{text}");
        let expected = "\nthread 1 (guest1.wat:run) was waiting for guest thread 2\n\
            \nthread 2 (guest2.wat:run) was waiting for guest thread 1\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(!report.all_returned());
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["end"], "deadlock");
        assert_eq!(json["threads"][0]["waits_for"], "guest thread 2");
    }

    #[test]
    fn threads_of_a_guest_are_named() {
        let mut report = report(vec![
            Outcome::Trapped {
                error: "no more".to_string(),
                backtrace: Vec::new(),
            },
            Outcome::Stopped,
        ]);
        let which = |thread, name: &str| Which {
            thread,
            name: name.to_string(),
        };
        report.threads[0].threads = Some(3);
        report.threads[0].ended_by = Some(which(4, "guest1.wat:run#2"));
        let other = |thread| Other {
            thread: which(thread, &format!("guest2.wat:run#{thread}")),
            waits_for: Some("the atomic at 0x8".to_string()),
        };
        report.threads[1].others = (10..10 + MOST_OTHERS as u64 + 2).map(other).collect();
        let text = report.text(None);
        for part in [
            "  threads  ",
            "\nthread 4 (guest1.wat:run#2) trapped: no more\n",
            "\nthread 29 (guest2.wat:run#29) was waiting for the atomic at 0x8\n",
            "\n2 more of its threads were waiting\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("thread 30 "), "{text}");
    }

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
        let expected = "\nseed 7: guest2.wat:run exited 3 (after 2 with which all returned); \
            --seed 7 without --search repeats this run\n";
        assert!(text.ends_with(expected), "{text}");
        let text = search(Outcome::Returned(vec![]), None);
        assert_eq!(text, "all guests returned with each of 3 seeds, 5 to 7\n");
        // By Ctrl-C.
        let text = search(Outcome::Stopped, None);
        assert!(!text.contains("seed"), "{text}");
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

    #[test]
    fn json_has_raw_numbers() {
        let json = serde_json::to_value(every_outcome()).unwrap();
        assert_eq!(json["elapsed_ms"], 2000.0);
        let mut short = every_outcome();
        short.elapsed = Duration::from_nanos(16_880);
        let short = serde_json::to_string(&short).unwrap();
        assert!(short.contains("\"elapsed_ms\":0.01688,"), "{short}");
        assert_eq!(json["slice_ms"], 10.0);
        let threads = json["threads"].as_array().unwrap();
        assert_eq!(threads[0]["exit"], "returned");
        assert_eq!(threads[0]["results"], serde_json::json!([-1, 0.5]));
        assert_eq!(threads[0]["cpu_time_ms"], 1.5);
        assert_eq!(threads[1]["exit"], "exited");
        assert_eq!(threads[1]["code"], 3);
        assert_eq!(threads[2]["exit"], "trapped");
        assert_eq!(threads[2]["error"], "no more");
        assert_eq!(
            threads[2]["backtrace"],
            serde_json::json!(["inner", "outer"])
        );
        assert_eq!(threads[3]["exit"], "stopped");
        assert_eq!(threads[4]["exit"], "over_limit");
        assert_eq!(threads[4]["limit"]["name"], "fuel_limit");
        for thread in threads {
            for field in [
                "results",
                "code",
                "error",
                "backtrace",
                "limit",
                "waits_for",
                "share",
                "fuel",
            ] {
                assert!(thread.get(field).is_some(), "{field} of {thread}");
            }
        }
    }

    #[test]
    fn only_returns_count_as_success() {
        let returned = || Outcome::Returned(vec![]);
        assert!(report(vec![returned(), returned()]).all_returned());
        assert!(!report(vec![returned(), Outcome::Stopped]).all_returned());
        assert!(!report(vec![Outcome::Exited(1)]).all_returned());
    }
}
