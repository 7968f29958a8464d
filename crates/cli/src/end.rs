//! The end of the command: writes the files first, whether or not anybody reads the output,
//! and then prints what is left.

use crate::console::Target;
use crate::interrupt::Interrupt;
use crate::outputs::{OutputArgs, Outputs};
use crate::run::Ran;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wasmtime::{Error, Result};

/// How long to wait for a reader that reads nothing, once the run should have ended.
const GRACE: Duration = Duration::from_secs(2);

/// How long to try to print a note about that: nobody may read that either.
const NOTE: Duration = Duration::from_millis(200);

/// Reports a run, as `args` say. Returns the status of the command.
///
/// Like any command, this waits for the readers of its output as long as they like, except
/// after the end of `--for` or a Ctrl-C.
///
/// # Errors
///
/// The run's error, or one because not everything could be written.
pub fn end(args: &OutputArgs, ran: Ran, outputs: Outputs, interrupt: &Interrupt) -> Result<u8> {
    let written = outputs.write(&ran);
    let (target, shown) = match &ran.report {
        Ok(report) if args.quiet => (Target::Stderr, Ok(report.problems())),
        Ok(report) => (Target::Stdout, report.shown(args.json)),
        Err(_) => (Target::Stdout, Ok(String::new())),
    };
    if let Ok(text) = &shown {
        ran.console.print(target, text.as_str());
    }
    let time_is_up = ran
        .report
        .as_ref()
        .is_ok_and(|report| report.end == "time_up");
    let gives_up = |idle| idle >= GRACE && (time_is_up || interrupt.happened());
    let printed = ran.console.drain(gives_up);
    if let Ok(false) = printed {
        note("the rest of the output was dropped: nobody is reading it");
    }
    let report = ran.report?;
    shown?;
    written?;
    printed.map_err(|(target, error)| {
        Error::from(error).context(format!("cannot write to {target}"))
    })?;
    Ok(report.status())
}

/// Prints a line to stderr, if anybody reads it.
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
