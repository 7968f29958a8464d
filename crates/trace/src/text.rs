//! Traces as lines of text: to store them, read them back, and compare the traces of
//! two deterministic runs byte for byte.
//!
//! ```text
//! preempt-trace 1          the format and its version
//! clock fuel               what a tick is: `ns` or `fuel`
//! lost 0                   how many older events there was no room for
//! events 5                 how many lines of events there are
//! name 1 "reader"          a thread's name, a JSON string
//! 0 1 spawned              time in ticks, thread (0: none), what happened
//! 0 0 run-started
//! 0 1 dispatched 100000    and the slice in ticks
//! 731 1 returned
//! 731 0 run-ended
//! ```
//!
//! The other events are `preempted`, `yielded`, `parked`, `woken`, `trapped`,
//! `killed` and `over-limit`. Every line ends with a line feed, and each trace has
//! exactly one text form. Reading also accepts lines that end with a carriage return
//! and a line feed.

use crate::names::word;
use std::borrow::Borrow;
use std::fmt::{self, Write};
use std::str::FromStr;
use wasmtime::ThreadId;
use wasmtime::preempt::{Trace, TraceEvent, Traced};

/// Makes `Display` write a trace, owned or borrowed, in this format.
///
/// `FromStr` makes a `Text<Trace>`.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl<T: Borrow<Trace>> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = self.0.borrow();
        writeln!(f, "preempt-trace 1")?;
        writeln!(f, "clock {}", if trace.fuel { "fuel" } else { "ns" })?;
        writeln!(f, "lost {}", trace.lost)?;
        writeln!(f, "events {}", trace.events.len())?;
        for (thread, name) in &trace.names {
            // As a JSON string.
            let name = serde_json::Value::from(name.as_str());
            writeln!(f, "name {thread} {name}")?;
        }
        for event in &trace.events {
            write!(f, "{} {} ", event.at, event.thread)?;
            match (event.what, word(event.what)) {
                (Traced::Dispatched { slice }, Some(word)) => writeln!(f, "{word} {slice}"),
                (_, Some(word)) => writeln!(f, "{word}"),
                // From a later Wasmtime: shown, though it cannot be read back.
                (what, None) => writeln!(f, "{what:?}"),
            }?;
        }
        Ok(())
    }
}

impl FromStr for Text<Trace> {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text).map(Text)
    }
}

/// Why a text is not a trace: the line, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    message: String,
}

impl ParseError {
    /// The line, counted from 1. If the text ends too early, the one after the last.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads a trace.
///
/// # Errors
///
/// If the text is not in this format, or has more or fewer lines than it says.
/// Whether the schedule makes sense is up to [`check`](crate::check).
pub fn parse(text: &str) -> Result<Trace, ParseError> {
    let mut lines = Lines {
        lines: text.lines(),
        line: 0,
        text: None,
    };
    lines.next();
    lines.header("preempt-trace", |version| match version {
        "1" => Ok(()),
        _ => Err(format!("version {} is unknown; 1 works", quoted(version))),
    })?;
    let fuel = lines.header("clock", |clock| match clock {
        "ns" => Ok(false),
        "fuel" => Ok(true),
        _ => Err(format!(
            "{} is no clock; `ns` and `fuel` are",
            quoted(clock)
        )),
    })?;
    let lost = lines.header("lost", |lost| number(lost, "number of lost events"))?;
    let count = lines.header("events", |count| number(count, "number of events"))?;

    let mut names = Vec::new();
    while let Some(name) = lines.text.and_then(|line| line.strip_prefix("name ")) {
        names.push(lines.on_this(parse_name(name))?);
        lines.next();
    }

    let mut events = Vec::new();
    while let Some(line) = lines.text {
        events.push(lines.on_this(parse_event(line))?);
        lines.next();
    }
    if events.len() as u64 != count {
        return lines.on_this(Err(format!(
            "the text ends after {} events, and its header promised {count}",
            events.len()
        )));
    }
    Ok(Trace {
        events,
        lost,
        fuel,
        names,
    })
}

/// The lines of a text, and the position in it.
struct Lines<'a> {
    lines: std::str::Lines<'a>,
    line: usize,
    text: Option<&'a str>,
}

impl Lines<'_> {
    fn next(&mut self) {
        self.line += 1;
        self.text = self.lines.next();
    }

    fn on_this<T>(&self, result: Result<T, String>) -> Result<T, ParseError> {
        result.map_err(|message| ParseError {
            line: self.line,
            message,
        })
    }

    /// Reads a line of `key` and one value.
    fn header<T>(
        &mut self,
        key: &str,
        value: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ParseError> {
        let found = match self.text {
            None => Err(format!("the text ends where `{key} ...` belongs")),
            Some(line) => match line.split_once(' ') {
                Some((word, rest)) if word == key => value(rest),
                _ => Err(format!("{} where `{key} ...` belongs", quoted(line))),
            },
        };
        let found = self.on_this(found)?;
        self.next();
        Ok(found)
    }
}

fn parse_name(text: &str) -> Result<(ThreadId, String), String> {
    let (thread, name) = text
        .split_once(' ')
        .ok_or_else(|| format!("no name after thread {}", quoted(text)))?;
    let thread = number(thread, "thread")?;
    let name = serde_json::from_str(name)
        .map_err(|error| format!("{} is not a JSON string: {error}", quoted(name)))?;
    Ok((ThreadId::from_u64(thread), name))
}

fn parse_event(line: &str) -> Result<TraceEvent, String> {
    let mut words = line.split(' ');
    let mut word = |what| {
        let word = words.next();
        word.ok_or_else(|| format!("{} has no {what}", quoted(line)))
    };
    let at = number(word("time")?, "time")?;
    let thread = number(word("thread")?, "thread")?;
    let what = match word("event")? {
        "run-started" => Traced::RunStarted,
        "run-ended" => Traced::RunEnded,
        "spawned" => Traced::Spawned,
        "dispatched" => Traced::Dispatched {
            slice: number(word("slice")?, "slice")?,
        },
        "preempted" => Traced::Preempted,
        "yielded" => Traced::Yielded,
        "paused" => Traced::Paused,
        "parked" => Traced::Parked,
        "woken" => Traced::Woken,
        "returned" => Traced::Returned,
        "trapped" => Traced::Trapped,
        "killed" => Traced::Killed,
        "over-limit" => Traced::OverLimit,
        other => return Err(format!("{} is no event", quoted(other))),
    };
    if let Some(more) = words.next() {
        return Err(format!("{} after the end of the event", quoted(more)));
    }
    Ok(TraceEvent {
        at,
        thread: ThreadId::from_u64(thread),
        what,
    })
}

/// Parses a number, accepting only its canonical form.
fn number(text: &str, what: &str) -> Result<u64, String> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(number) if canonical => Ok(number),
        _ => Err(format!(
            "{} is no {what}: a number from 0 to {} without zeros before it is",
            quoted(text),
            u64::MAX
        )),
    }
}

/// A value for an error message, truncated if it is long.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("`");
    for c in text.chars().take(40) {
        // Writing to a string cannot fail.
        let _ = write!(quoted, "{}", c.escape_debug());
    }
    quoted.push_str(if text.chars().nth(40).is_some() {
        "...`"
    } else {
        "`"
    });
    quoted
}
