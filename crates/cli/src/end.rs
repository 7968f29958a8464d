//! The end of the command: files are written first, whoever reads the rest, and then
//! it is printed what is left.

use crate::args::RunArgs;
use crate::console::Target;
use crate::interrupt::Interrupt;
use crate::outputs::Outputs;
use crate::run::Ran;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wasmtime::{Error, Result};

/// How long somebody who reads nothing is waited for when the run was to end.
const GRACE: Duration = Duration::from_secs(2);

/// How long a note about that may take: nobody may read that, either.
const NOTE: Duration = Duration::from_millis(200);

/// Tells of a run. Returns whether all guests returned.
///
/// As any command, this waits for those who read its output as long as they like; but
/// not after the end of `--for`, or after a Ctrl-C.
///
/// # Errors
///
/// That of the run, or if not all could be written.
pub fn end(args: &RunArgs, ran: Ran, outputs: Outputs, interrupt: &Interrupt) -> Result<bool> {
    let written = outputs.write(&ran);
    let shown = match &ran.report {
        Ok(report) => report.shown(args.outputs.json),
        Err(_) => Ok(String::new()),
    };
    if let Ok(text) = &shown {
        ran.console.print(Target::Stdout, text.as_str());
    }
    let time_is_up = ran
        .report
        .as_ref()
        .is_ok_and(|report| report.end == "time_up");
    let gives_up = |idle| idle >= GRACE && (time_is_up || interrupt.happened());
    let printed = ran.console.drain(gives_up);
    if let Ok(false) = printed {
        note("the rest of the output is left out, as nobody is reading it");
    }
    let report = ran.report?;
    shown?;
    written?;
    printed.map_err(|(target, error)| {
        Error::from(error).context(format!("cannot write to {target}"))
    })?;
    Ok(report.all_returned())
}

/// Prints a line to stderr, if somebody reads that.
fn note(text: &'static str) {
    let (done, is_done) = mpsc::channel();
    let print = move || {
        let _ = writeln!(io::stderr(), "{text}");
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = is_done.recv_timeout(NOTE);
    }
}
