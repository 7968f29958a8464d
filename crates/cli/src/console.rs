//! Where guests print: whole lines of each, to this process' stdout and stderr.
//!
//! A guest may be preempted between the two halves of a line, so each stream
//! keeps its unfinished line back. Under a live view, lines are collected, and
//! written when the view is redrawn: it has to be taken off the screen for them.

use indicatif::ProgressBar;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes that are held back: an unfinished line, or lines waiting for
/// the next redraw.
const MOST_HELD: usize = 64 * 1024;

/// The most bytes that are held back for [`Console::release`].
const MOST_HELD_FOR_RELEASE: usize = 1024 * 1024;

/// Which of this process' streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    Stderr,
}

impl Target {
    pub fn is_terminal(self) -> bool {
        match self {
            Target::Stdout => io::stdout().is_terminal(),
            Target::Stderr => io::stderr().is_terminal(),
        }
    }

    fn write(self, bytes: &[u8]) -> io::Result<()> {
        fn write(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
            to.write_all(bytes)?;
            to.flush()
        }
        match self {
            Target::Stdout => write(io::stdout().lock(), bytes),
            Target::Stderr => write(io::stderr().lock(), bytes),
        }
    }
}

/// The console that all guests share. Clones are the same console.
#[derive(Clone, Default)]
pub struct Console(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    view: Option<ProgressBar>,
    /// The unfinished line of each stream.
    lines: Vec<(Target, Vec<u8>)>,
    /// Lines for the next redraw, in the order in which they were written.
    waiting: Vec<(Target, Vec<u8>)>,
    waiting_bytes: usize,
    /// What is not to be written yet, perhaps never.
    held: Option<Held>,
}

#[derive(Default)]
struct Held {
    lines: Vec<(Target, Vec<u8>)>,
    bytes: usize,
}

/// One stream of one guest. Clones are the same stream.
#[derive(Clone)]
pub struct Stream {
    console: Console,
    index: usize,
    pub target: Target,
}

impl Console {
    /// A console that writes nothing before [`Console::release`], and of very much the
    /// beginning only.
    pub fn holding() -> Console {
        let state = State {
            held: Some(Held::default()),
            ..State::default()
        };
        Console(Arc::new(Mutex::new(state)))
    }

    /// Writes what was held back.
    pub fn release(&self) -> io::Result<()> {
        let Some(held) = self.state().held.take() else {
            return Ok(());
        };
        for (target, bytes) in &held.lines {
            target.write(bytes)?;
        }
        if held.bytes > MOST_HELD_FOR_RELEASE {
            Target::Stderr.write(b"[and more, which is left out]\n")?;
        }
        Ok(())
    }

    /// From now on `view` is on the screen.
    pub fn attach(&self, view: ProgressBar) {
        self.state().view = Some(view);
    }

    /// A new stream that ends up in `target`.
    pub fn stream(&self, target: Target) -> Stream {
        let mut state = self.state();
        state.lines.push((target, Vec::new()));
        Stream {
            console: self.clone(),
            index: state.lines.len() - 1,
            target,
        }
    }

    /// Writes the lines that wait for a redraw.
    pub fn redraw(&self) -> io::Result<()> {
        self.state().write_waiting()
    }

    /// Writes all that is left, and ends unfinished lines. The view is off the
    /// screen from now on.
    pub fn finish(&self) -> io::Result<()> {
        let mut state = self.state();
        state.write_waiting()?;
        state.view = None;
        for i in 0..state.lines.len() {
            let (target, mut line) = mem::replace(&mut state.lines[i], (Target::Stdout, vec![]));
            if !line.is_empty() {
                line.push(b'\n');
                state.write(target, line)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.console.state();
        let (_, line) = &mut state.lines[self.index];
        line.extend_from_slice(bytes);
        let whole = match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => line.len() - bytes.len() + end + 1,
            None if line.len() > MOST_HELD => line.len(),
            None => return Ok(()),
        };
        let rest = line.split_off(whole);
        let whole = mem::replace(line, rest);
        state.write(self.target, whole)
    }

    /// Writes the unfinished line: somebody may have to read it to go on.
    pub fn prompt(&self) -> io::Result<()> {
        let mut state = self.console.state();
        let mut line = mem::take(&mut state.lines[self.index].1);
        if line.is_empty() {
            return state.write_waiting();
        }
        if state.view.is_some() {
            line.push(b'\n');
        }
        state.write(self.target, line)?;
        state.write_waiting()
    }
}

impl State {
    fn write(&mut self, target: Target, bytes: Vec<u8>) -> io::Result<()> {
        if let Some(held) = &mut self.held {
            held.bytes = held.bytes.saturating_add(bytes.len());
            if held.bytes <= MOST_HELD_FOR_RELEASE {
                held.lines.push((target, bytes));
            }
            return Ok(());
        }
        if self.view.is_none() {
            return target.write(&bytes);
        }
        self.waiting_bytes += bytes.len();
        match self.waiting.last_mut() {
            Some((last, waiting)) if *last == target => waiting.extend_from_slice(&bytes),
            _ => self.waiting.push((target, bytes)),
        }
        match self.waiting_bytes > MOST_HELD {
            true => self.write_waiting(),
            false => Ok(()),
        }
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        self.waiting_bytes = 0;
        let waiting = mem::take(&mut self.waiting);
        let write = || waiting.iter().try_for_each(|(to, bytes)| to.write(bytes));
        match &self.view {
            Some(view) if !waiting.is_empty() => view.suspend(write),
            _ => write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A console that collects what would be written.
    fn console() -> Console {
        let console = Console::default();
        console.attach(ProgressBar::hidden());
        console
    }

    fn waiting(console: &Console) -> Vec<(Target, String)> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let state = console.state();
        state.waiting.iter().map(|(to, b)| (*to, text(b))).collect()
    }

    #[test]
    fn lines_of_two_guests_never_mix() {
        let console = console();
        let (a, b) = (
            console.stream(Target::Stdout),
            console.stream(Target::Stdout),
        );
        a.write(b"one ").unwrap();
        b.write(b"two\nth").unwrap();
        a.write(b"line\n").unwrap();
        b.write(b"ree\n").unwrap();
        assert_eq!(
            waiting(&console),
            [(Target::Stdout, "two\none line\nthree\n".to_string())]
        );
    }

    #[test]
    fn order_of_stdout_and_stderr_is_kept() {
        let console = console();
        let (out, err) = (
            console.stream(Target::Stdout),
            console.stream(Target::Stderr),
        );
        out.write(b"a\n").unwrap();
        err.write(b"b\n").unwrap();
        out.write(b"c\n").unwrap();
        let line = |to, text: &str| (to, text.to_string());
        assert_eq!(
            waiting(&console),
            [
                line(Target::Stdout, "a\n"),
                line(Target::Stderr, "b\n"),
                line(Target::Stdout, "c\n")
            ]
        );
    }

    #[test]
    fn endless_line_is_not_held_back_for_ever() {
        let console = console();
        let stream = console.stream(Target::Stderr);
        for _ in 0..MOST_HELD {
            stream.write(b"x").unwrap();
        }
        assert_eq!(console.state().lines[0].1.len(), MOST_HELD);
        assert!(waiting(&console).is_empty());
        stream.write(b"\n").unwrap();
        assert!(console.state().lines[0].1.is_empty());
    }
}
