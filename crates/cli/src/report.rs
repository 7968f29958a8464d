//! The outcome of the run: what `--json` prints.

mod failures;
#[cfg(test)]
pub mod samples;
mod text;

use crate::interleaving::Interleaving;
use crate::picks::Replayed;
use crate::thread::Thread;
use crate::times;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Duration;
use wasmtime::preempt::Trace;
use wasmtime::{Result, Slice};

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
    /// Why the run ended: `all_finished`, `until`, `time_up`, `interrupted` or `deadlock`.
    pub end: &'static str,
    #[serde(rename = "elapsed_ms", serialize_with = "times::serialize")]
    pub elapsed: Duration,
    /// Of all threads together.
    #[serde(rename = "cpu_time_ms", serialize_with = "times::serialize")]
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

impl Report {
    /// Whether all guests returned, apart from those that were ended for `--until`.
    pub fn all_returned(&self) -> bool {
        self.threads
            .iter()
            .all(|thread| thread.outcome.is_success())
    }

    /// The status of the command: a single guest's own, or whether all went well.
    pub fn status(&self) -> u8 {
        match &self.threads[..] {
            [only] => only.outcome.status(),
            _ => u8::from(!self.all_returned()),
        }
    }

    /// The report for programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
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
            fields.serialize_entry(&format!("{name}_ms"), &times::milliseconds(time))?;
        }
        Some(Slice::Fuel(fuel)) => fields.serialize_entry(&format!("{name}_fuel"), &fuel)?,
        _ => {}
    }
    fields.end()
}

#[cfg(test)]
mod tests {
    use super::samples::{every_outcome, report};
    use super::*;
    use crate::outcome::Outcome;

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
        assert!(report(vec![returned(), Outcome::Ended]).all_returned());
    }

    #[test]
    fn status_is_that_of_a_single_guest() {
        let trapped = || Outcome::Trapped {
            error: String::new(),
            backtrace: Vec::new(),
        };
        let status = |outcome| report(vec![outcome]).status();
        assert_eq!(status(Outcome::Returned(vec![])), 0);
        for (code, expected) in [(3, 3), (255, 255), (300, 44), (256, 1), (-1, 255)] {
            assert_eq!(status(Outcome::Exited(code)), expected);
        }
        assert_eq!(status(trapped()), 134);
        assert_eq!(status(Outcome::Stopped), 1);
        let two = |outcome| report(vec![Outcome::Returned(vec![]), outcome]).status();
        assert_eq!(two(Outcome::Exited(3)), 1);
        assert_eq!(two(trapped()), 1);
        assert_eq!(two(Outcome::Ended), 0);
    }
}
