//! The files that a run writes: opened before anything runs, and written whatever happens.

mod args;

pub use args::OutputArgs;

use crate::files::Identity;
use crate::names;
use crate::run::Ran;
use args::{Format, TraceFile};
use preempt_trace::perfetto;
use preempt_trace::text::Text;
use preempt_trace::timeline::Timeline;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use wasmtime::error::Context as _;
use wasmtime::preempt::Trace;
use wasmtime::{Result, bail};

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
    pub fn create(args: &OutputArgs, inputs: &[PathBuf]) -> Result<Outputs> {
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
