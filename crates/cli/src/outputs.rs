//! The files that a run writes: opened before anything runs, and written whatever happens.

use crate::args::RunArgs;
use crate::files::Identity;
use crate::mode::{Amount, Mode, ticks};
use crate::names;
use crate::run::Ran;
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use preempt_trace::perfetto;
use preempt_trace::text::Text;
use preempt_trace::timeline::Timeline;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::preempt::Trace;
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

    /// Show how the guests took turns: each one's share of the CPU in each STEP of the run
    ///
    /// STEP is a duration or a number of units of fuel, as for --slice. The default is 10ms,
    /// or 10000000 units.
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true)]
    pub interleaving: Option<Option<String>>,

    /// Also write the JSON object to FILE
    #[arg(long, value_name = "FILE")]
    pub json_file: Option<PathBuf>,

    /// Write what happened and when to FILE: as .json for the Perfetto UI (ui.perfetto.dev)
    /// or chrome://tracing, or as .txt for lines of text
    ///
    /// May be repeated. The text holds only the schedule: under --preemption fuel it is the
    /// same for every run.
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(trace_file))]
    pub trace: Vec<TraceFile>,

    /// Write a picture of which guest ran when to FILE, as SVG
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,

    /// How many events --trace, --timeline and --interleaving keep before dropping the
    /// oldest. The default is 1000000
    #[arg(long, value_name = "N", value_parser = event_count)]
    pub trace_events: Option<usize>,

    /// Write which guest was picked at each turn to FILE, for --replay
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
            "the extension tells the format; use .json for the Perfetto UI, or .txt for lines of text"
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
    zero: "would never end",
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

/// An open file.
struct Output {
    option: &'static str,
    path: PathBuf,
    file: File,
}

/// All files, open.
pub struct Outputs {
    json: Option<Output>,
    traces: Vec<(Format, Output)>,
    timeline: Option<Output>,
    record: Option<Output>,
}

impl Outputs {
    /// Opens all files. `inputs` are the files that are read.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, two are the same, or one is an input.
    pub fn create(args: &RunArgs, inputs: &[PathBuf]) -> Result<Outputs> {
        let args = &args.outputs;
        let traces = args.trace.iter().map(|to| ("--trace", &*to.path));
        let others = [
            ("--json-file", &args.json_file),
            ("--timeline", &args.timeline),
            ("--record", &args.record),
        ];
        let others = others
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.as_deref()?)));
        let all: Vec<(&str, &Path)> = traces.chain(others).collect();
        // Starts with the files that must not be overwritten.
        let inputs = inputs.iter().filter_map(|input| Identity::of(input));
        let mut taken: Vec<(String, Identity)> = inputs
            .map(|identity| ("the command reads".to_string(), identity))
            .collect();
        for (option, path) in all {
            let Some(identity) = Identity::of(path) else {
                continue;
            };
            if let Some((what, _)) = taken.iter().find(|(_, other)| *other == identity) {
                bail!(
                    "{option} {}: {what} the same file; give another",
                    names::path(path)
                );
            }
            taken.push((format!("{option} writes to"), identity));
        }

        let create = |option, path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| Output::create(option, path)).transpose()
        };
        let trace = |to: &TraceFile| Ok((to.format, Output::create("--trace", &to.path)?));
        Ok(Outputs {
            json: create("--json-file", &args.json_file)?,
            traces: args.trace.iter().map(trace).collect::<Result<_>>()?,
            timeline: create("--timeline", &args.timeline)?,
            record: create("--record", &args.record)?,
        })
    }

    /// Writes all files. If one fails, the others are still written.
    ///
    /// # Errors
    ///
    /// The first error.
    pub fn write(self, ran: &Ran) -> Result<()> {
        let mut first = Ok(());
        let mut note = |result: Result<()>| {
            if first.is_ok() {
                first = result;
            }
        };
        if let (Some(output), Ok(report)) = (self.json, &ran.report) {
            note(report.json().and_then(|json| output.write_all(&json)));
        }
        if let Some(trace) = &ran.trace {
            for (format, output) in self.traces {
                note(output.write_trace(format, trace));
            }
            if let Some(output) = self.timeline {
                let svg = Timeline::new().title(ran.title.as_str()).svg(trace);
                note(output.write_all(&svg));
            }
        }
        if let (Some(output), Some(schedule)) = (self.record, &ran.schedule) {
            note(output.write_all(&schedule.to_string()));
        }
        first
    }
}

impl Output {
    fn create(option: &'static str, path: &Path) -> Result<Output> {
        let file = File::create(path)
            .with_context(|| format!("{option}: cannot write {}", names::path(path)))?;
        Ok(Output {
            option,
            path: path.to_path_buf(),
            file,
        })
    }

    fn write_all(&self, text: &str) -> Result<()> {
        let mut file = &self.file;
        file.write_all(text.as_bytes())
            .with_context(|| self.cannot())
    }

    fn write_trace(&self, format: Format, trace: &Trace) -> Result<()> {
        let mut file = BufWriter::new(&self.file);
        match format {
            Format::Perfetto => perfetto::write(trace, &mut file),
            Format::Text => write!(file, "{}", Text(trace)),
        }
        .and_then(|()| file.flush())
        .with_context(|| self.cannot())
    }

    fn cannot(&self) -> String {
        format!("{}: cannot write {}", self.option, names::path(&self.path))
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
