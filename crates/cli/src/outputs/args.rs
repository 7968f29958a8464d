//! The options that say what a run writes.

use crate::mode::{Amount, Mode, ticks};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use std::path::PathBuf;
use wasmtime::{Result, bail};

/// Events of 32 bytes.
const DEFAULT_EVENTS: usize = 1_000_000;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print one JSON object to stdout instead of a table
    ///
    /// Guests' stdout then goes to stderr.
    #[arg(long)]
    pub json: bool,

    /// Print only what guests print, and to stderr what went wrong with them: no table and no
    /// live view
    #[arg(short, long, conflicts_with_all = ["json", "interleaving"])]
    pub quiet: bool,

    /// Begin each line that a guest prints with the guest's name
    ///
    /// Names are shortened from the left, and numbered if that makes some of them equal. A
    /// line of more than 32 KiB becomes several, and a prompt a line of its own.
    #[arg(long)]
    pub label: bool,

    /// Show how the guests took turns: each one's share of the CPU in each STEP of the run
    ///
    /// STEP is a duration or units of fuel, as for --slice. The default is 10ms or 10000000
    /// units.
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true)]
    pub interleaving: Option<Option<String>>,

    /// Also write the JSON object to FILE
    #[arg(long, value_name = "FILE")]
    pub json_file: Option<PathBuf>,

    /// Write a trace of the schedule to FILE: .json for the Perfetto UI (ui.perfetto.dev) or
    /// chrome://tracing, .txt for lines of text
    ///
    /// May be repeated. Under --preemption fuel, every run writes the same text.
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(trace_file))]
    pub trace: Vec<TraceFile>,

    /// Draw which guest ran when, as SVG, in FILE
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,

    /// How many events --trace, --timeline and --interleaving keep before dropping the
    /// oldest. The default is 1000000
    #[arg(long, value_name = "N", value_parser = event_count)]
    pub trace_events: Option<usize>,

    /// Write the policy's picks to FILE, for --replay
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// A value of `--trace`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceFile {
    pub format: Format,
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Perfetto,
    Text,
}

fn trace_file(path: PathBuf) -> Result<TraceFile> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Format::Perfetto,
        Some("txt") => Format::Text,
        _ => bail!(
            "the extension sets the format; use .json for the Perfetto UI, or .txt for lines of text"
        ),
    };
    Ok(TraceFile { format, path })
}

fn event_count(text: &str) -> Result<usize> {
    match text.replace('_', "").parse() {
        Ok(0) => bail!("the trace would be empty; give a number above zero, such as 1000000"),
        Ok(count) => Ok(count),
        Err(_) => bail!("give a number of events such as 1000000"),
    }
}

impl OutputArgs {
    /// How many events the trace has room for; `None` if nobody wants a trace.
    ///
    /// # Errors
    ///
    /// If room was asked for, but no trace.
    pub fn trace_events(&self) -> Result<Option<usize>> {
        let shown = self.timeline.is_some() || self.interleaving.is_some();
        let wanted = !self.trace.is_empty() || shown;
        match (wanted, self.trace_events) {
            (false, None) => Ok(None),
            (false, Some(count)) => bail!(
                "--trace-events {count} needs a trace: give --trace FILE, --timeline FILE or \
                 --interleaving as well"
            ),
            (true, count) => Ok(Some(count.unwrap_or(DEFAULT_EVENTS))),
        }
    }
}

const INTERLEAVING: Amount = Amount {
    option: "--interleaving",
    what: "a step",
    zero: "has no length",
};

impl OutputArgs {
    /// The step of `--interleaving`, in ticks.
    pub fn step(&self, mode: Mode) -> Result<Option<u64>> {
        let step = self.interleaving.as_ref().map(|step| match step {
            Some(step) => mode.parse_ticks(&INTERLEAVING, step, step),
            None => Ok(ticks(mode.default_slice())),
        });
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_of_a_trace_is_its_format() {
        let format = |text: &str| trace_file(PathBuf::from(text)).unwrap().format;
        assert_eq!(format("a.json"), Format::Perfetto);
        assert_eq!(format("dir.txt/a.b.txt"), Format::Text);
        for other in ["a", "a.svg", "a.trace", ".json", "json", ""] {
            let error = trace_file(PathBuf::from(other)).unwrap_err().to_string();
            assert!(error.contains(".json") && error.contains(".txt"), "{error}");
        }
    }
}
