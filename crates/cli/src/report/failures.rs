//! What went wrong with guests, as far as the table has no room for it.

use super::Report;
use crate::names;
use crate::outcome::Outcome;
use crate::thread::{Thread, Which};
use std::fmt::{Result, Write as _};

/// The most threads of a guest to name one by one.
const MOST_OTHERS: usize = 20;

impl Report {
    /// What the table has no room for.
    pub(super) fn failures(&self, text: &mut String) -> Result {
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

    fn others(&self, text: &mut String) -> Result {
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

#[cfg(test)]
mod tests {
    use super::super::samples::{every_outcome, report};
    use super::*;
    use crate::thread::Other;

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
}
