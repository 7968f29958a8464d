//! Where guests print: in whole lines, to this process's stdout and stderr.
//!
//! A guest may be preempted halfway through a line, so each stream holds its unfinished
//! line back. Whole lines go into a queue, and an OS thread writes them. A slow reader
//! therefore holds up only the guests that print: a guest whose stream is full is parked
//! until there is room.
//!
//! ```text
//!   guest --> Stream: its unfinished line --+
//!   guest --> Stream: its unfinished line --+--> queue --> writer --> stdout, stderr
//!   report, notes --------------------------+                 ^
//!   live view ------------------------------------------------+
//! ```
//!
//! Under a live view, lines wait until it is redrawn, because it must leave the screen
//! while they are written.

mod stream;
mod writer;

pub use stream::{Refused, Stream};

use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use writer::Sinks;

/// How many bytes of a stream may wait, including its unfinished line.
const ROOM: usize = 64 * 1024;

/// A longer line is written in parts.
const LONGEST_LINE: usize = ROOM / 2;

/// The most bytes to hold back for [`Console::release`].
const MOST_HELD_FOR_RELEASE: usize = 1024 * 1024;

/// How often [`Console::drain`] asks whether to give up.
const ASK: Duration = Duration::from_millis(50);

/// Undoes what a guest may have done to a terminal: a control string, the alternate screen,
/// margins, colours, a hidden cursor, another character set.
const RESET: &[u8] = b"\x1b\\\x1b[?1047l\x1b[!p\x1b[0m\x1b[?25h\x1b[?7h\x1b(B\x0f";

/// One of this process's streams.
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
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Stdout => "stdout",
            Target::Stderr => "stderr",
        })
    }
}

/// The error that ends a guest which prints to a stream that nobody reads any more.
#[derive(Clone, Copy, Debug)]
pub struct Closed(pub Target);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is closed", self.0)
    }
}

impl Error for Closed {}

/// The console that all guests share. Clones are the same console.
#[derive(Clone, Default)]
pub struct Console(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is something to write, or when it has been written.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Where to write, until a writer starts and takes them.
    sinks: Option<Sinks>,
    has_writer: bool,
    /// Whether the writer is writing.
    is_writing: bool,
    /// How many pieces it has written.
    pieces: u64,
    view: Option<ProgressBar>,
    /// A view to be taken off the screen.
    cleared: Option<ProgressBar>,
    /// What the view should show next.
    shown: Option<String>,
    /// Whether to write the lines even though a view is on the screen.
    flush: bool,
    streams: Vec<Lines>,
    /// In the order in which the chunks were printed.
    queue: VecDeque<Chunk>,
    stdout: Health,
    stderr: Health,
    /// Output that is held back, perhaps forever.
    held: Option<Held>,
}

/// One stream of a guest.
struct Lines {
    target: Target,
    unfinished: Vec<u8>,
    /// How many of its bytes are in the queue.
    waiting: usize,
    /// Whoever is waiting for room.
    wakers: Vec<Waker>,
}

/// A piece of output to be written.
struct Chunk {
    target: Target,
    bytes: Vec<u8>,
    /// The index of its stream.
    stream: Option<usize>,
}

/// What is known about a [`Target`].
#[derive(Default)]
struct Health {
    is_closed: bool,
    /// The last error that no guest has been told about.
    failed: Option<io::Error>,
    /// The first error ever.
    first: Option<io::Error>,
    /// Whether a guest may have changed the state of a terminal.
    is_changed: bool,
}

#[derive(Default)]
struct Held {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Console {
    /// A console that writes none of the guests' output before [`Console::release`]. If
    /// there is very much of it, only the beginning is kept.
    pub fn holding() -> Console {
        let console = Console::default();
        console.0.state().held = Some(Held::default());
        console
    }

    /// Writes what was held back.
    pub fn release(&self) {
        let mut state = self.0.state();
        let Some(held) = state.held.take() else {
            return;
        };
        for chunk in held.chunks {
            state.health(chunk.target).is_changed |= changes_terminal(&chunk.bytes);
            state.push(Chunk {
                stream: None,
                ..chunk
            });
        }
        state.reset_terminals();
        if held.bytes > MOST_HELD_FOR_RELEASE {
            state.push(Chunk {
                target: Target::Stderr,
                bytes: b"[the rest is left out]\n".to_vec(),
                stream: None,
            });
        }
        self.0.notify(&mut state);
    }

    /// Tells the console that `view` is on the screen from now on.
    pub fn attach(&self, view: ProgressBar) {
        self.0.state().view = Some(view);
    }

    /// Shows `text` in the view, and writes the lines waiting for a redraw.
    pub fn draw(&self, text: String) {
        let mut state = self.0.state();
        state.shown = Some(text);
        state.flush = true;
        self.0.notify(&mut state);
    }

    /// A new stream that writes to `target`.
    pub fn stream(&self, target: Target) -> Stream {
        let mut state = self.0.state();
        state.streams.push(Lines {
            target,
            unfinished: Vec::new(),
            waiting: 0,
            wakers: Vec::new(),
        });
        Stream::new(self.clone(), state.streams.len() - 1, target)
    }

    /// Prints `text` on behalf of the command, not of a guest.
    pub fn print(&self, target: Target, text: impl Into<Vec<u8>>) {
        let mut state = self.0.state();
        state.push(Chunk {
            target,
            bytes: text.into(),
            stream: None,
        });
        self.0.notify(&mut state);
    }

    /// Called after the last guest has ended. Ends unfinished lines, takes the view off the
    /// screen, and resets a terminal that guests have changed.
    pub fn finish(&self) {
        let mut state = self.0.state();
        for index in 0..state.streams.len() {
            if !state.streams[index].unfinished.is_empty() {
                state.streams[index].unfinished.push(b'\n');
                state.push_unfinished(index, usize::MAX);
            }
        }
        state.reset_terminals();
        state.cleared = state.view.take();
        self.0.notify(&mut state);
    }

    /// Waits until everything is written, or until `gives_up`, which is given the time
    /// since the last progress, returns true. Returns whether everything was written.
    ///
    /// # Errors
    ///
    /// If something could not be written, other than because nobody reads it any more.
    pub fn drain(&self, gives_up: impl Fn(Duration) -> bool) -> Result<bool, (Target, io::Error)> {
        let mut state = self.0.state();
        let (mut pieces, mut since) = (state.pieces, Instant::now());
        while state.is_writing || state.has_work() {
            if state.pieces != pieces {
                (pieces, since) = (state.pieces, Instant::now());
            }
            if gives_up(since.elapsed()) {
                return Ok(false);
            }
            let waited = self.0.changed.wait_timeout(state, ASK);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        for target in [Target::Stdout, Target::Stderr] {
            if let Some(error) = state.health(target).first.take() {
                return Err((target, error));
            }
        }
        Ok(true)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn health(&mut self, target: Target) -> &mut Health {
        match target {
            Target::Stdout => &mut self.stdout,
            Target::Stderr => &mut self.stderr,
        }
    }

    /// Whether the writer has something to do.
    fn has_work(&self) -> bool {
        let waits_for_view = self.view.is_some() && !self.flush;
        self.shown.is_some()
            || self.cleared.is_some()
            || (!self.queue.is_empty() && !waits_for_view)
    }

    fn push(&mut self, mut chunk: Chunk) {
        if let (Some(held), Some(_)) = (&mut self.held, chunk.stream) {
            held.bytes = held.bytes.saturating_add(chunk.bytes.len());
            if held.bytes <= MOST_HELD_FOR_RELEASE {
                held.chunks.push(chunk);
            }
            return;
        }
        let is_closed = self.health(chunk.target).is_closed;
        if is_closed {
            return;
        }
        let changes = chunk.stream.is_some() && changes_terminal(&chunk.bytes);
        if changes && self.view.is_some() && chunk.target.is_terminal() {
            // The view is drawn after this chunk.
            chunk.bytes.extend_from_slice(RESET);
        } else if changes {
            self.health(chunk.target).is_changed = true;
        }
        if let Some(index) = chunk.stream {
            self.streams[index].waiting += chunk.bytes.len();
        }
        self.queue.push_back(chunk);
    }

    /// Resets terminals that guests' output may have changed.
    fn reset_terminals(&mut self) {
        for target in [Target::Stdout, Target::Stderr] {
            if mem::take(&mut self.health(target).is_changed) && target.is_terminal() {
                self.push(Chunk {
                    target,
                    bytes: RESET.to_vec(),
                    stream: None,
                });
            }
        }
    }
}

/// Whether `bytes` contain an escape sequence or a shift to another character set.
fn changes_terminal(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| [0x1b, 0x0e].contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Context;

    /// A console with a view, so that lines wait.
    fn console() -> Console {
        let console = Console::default();
        console.attach(ProgressBar::hidden());
        console
    }

    fn waiting(console: &Console) -> Vec<(Target, String)> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let state = console.0.state();
        let chunks = state.queue.iter();
        chunks.map(|c| (c.target, text(&c.bytes))).collect()
    }

    /// Waits for leave before each write, and passes on what was written.
    struct Sink {
        leave: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.leave.recv() {
                Ok(Err(error)) => Err(error),
                _ => {
                    let _ = self.written.send(bytes.to_vec());
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A console that needs leave to write to its stdout.
    fn slow() -> (Console, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
        let (leave, get_leave) = channel();
        let (written, get_written) = channel();
        let console = Console::default();
        console.0.state().sinks = Some(Sinks {
            stdout: Box::new(Sink {
                leave: get_leave,
                written,
            }),
            stderr: Box::new(io::sink()),
        });
        (console, leave, get_written)
    }

    fn poll(stream: &Stream) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        stream.poll_room(&mut cx).is_ready()
    }

    fn idle_for(limit: u64) -> impl Fn(Duration) -> bool {
        move |idle| idle >= Duration::from_millis(limit)
    }

    #[test]
    fn lines_of_two_guests_never_mix() {
        let console = console();
        let (a, b) = (
            console.stream(Target::Stdout),
            console.stream(Target::Stdout),
        );
        for (stream, text) in [(&a, "one "), (&b, "two\nth"), (&a, "line\n"), (&b, "ree\n")] {
            stream.write(text.as_bytes()).unwrap();
        }
        let lines = waiting(&console).into_iter().map(|(_, line)| line);
        assert!(lines.eq(["two\n", "one line\n", "three\n"]));
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
        for _ in 0..LONGEST_LINE {
            stream.write(b"x").unwrap();
        }
        assert!(waiting(&console).is_empty());
        stream.write(b"x").unwrap();
        assert_eq!(waiting(&console)[0].1.len(), LONGEST_LINE + 1);
    }

    #[test]
    fn stream_without_room_waits_and_others_do_not() {
        let (console, leave, written) = slow();
        let (a, b) = (
            console.stream(Target::Stdout),
            console.stream(Target::Stdout),
        );
        let lines = b"line\n".repeat(ROOM);
        assert_eq!(a.write(&lines).unwrap(), ROOM);
        assert_eq!(a.room().unwrap(), 0);
        assert!(!poll(&a));
        assert!(poll(&b));
        b.write(b"other\n").unwrap();

        drop(leave);
        assert!(console.drain(|_| false).unwrap());
        assert!(poll(&a));
        // Everything but the end of the unfinished line.
        let all: Vec<u8> = written.try_iter().flatten().collect();
        let whole = ROOM - ROOM % b"line\n".len();
        assert_eq!(all[..whole], lines[..whole]);
        assert_eq!(&all[whole..], b"other\n");
    }

    #[test]
    fn drain_gives_up_only_while_nothing_is_written() {
        let (console, leave, _written) = slow();
        console.print(Target::Stdout, "x".repeat(2 * 4096));
        assert!(!console.drain(idle_for(1)).unwrap());
        leave.send(Ok(())).unwrap();
        assert!(!console.drain(idle_for(60)).unwrap());
        leave.send(Ok(())).unwrap();
        assert!(console.drain(|_| false).unwrap());
    }

    #[test]
    fn nothing_goes_to_a_stream_that_is_closed() {
        let (console, leave, written) = slow();
        let (out, err) = (
            console.stream(Target::Stdout),
            console.stream(Target::Stderr),
        );
        out.write(b"lost\n").unwrap();
        leave.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        assert!(console.drain(|_| false).unwrap());
        assert!(matches!(out.room(), Err(Refused::Closed(_))));
        assert!(matches!(out.write(b"x"), Err(Refused::Closed(_))));
        assert!(poll(&out));
        assert_eq!(err.room().unwrap(), ROOM);
        assert_eq!(written.try_iter().count(), 0);
    }

    #[test]
    fn failure_is_told_to_one_guest_and_in_the_end() {
        let (console, leave, _written) = slow();
        let stream = console.stream(Target::Stdout);
        stream.write(b"lost\n").unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        leave.send(Err(full())).unwrap();
        let (target, error) = console.drain(|_| false).unwrap_err();
        assert_eq!((target, error.kind()), (Target::Stdout, full().kind()));
        assert!(matches!(stream.room(), Err(Refused::Failed(_))));
        assert_eq!(stream.room().unwrap(), ROOM);
    }
}
