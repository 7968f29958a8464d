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

mod sinks;
mod state;
mod stream;
mod target;
mod writer;

pub use stream::{Refused, Stream};
pub use target::{Closed, Target};

use indicatif::ProgressBar;
use state::{Chunk, Held, Lines, MOST_HELD_FOR_RELEASE, Shared, changes_terminal};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How much more the guests of a run that can be repeated may print before they wait.
const ROOM_TO_REPEAT: usize = 64 << 20;

/// How often [`Console::drain`] asks whether to give up.
const ASK: Duration = Duration::from_millis(50);

/// The console that all guests share. Clones are the same console.
#[derive(Clone, Default)]
pub struct Console(Arc<Shared>);

impl Console {
    /// A console that writes none of the guests' output before [`Console::release`]. If
    /// there is very much of it, only the beginning is kept.
    pub fn holding() -> Console {
        let console = Console::default();
        console.0.state().held = Some(Held::default());
        console
    }

    /// Has `guests` wait for the readers of their output only if those are far behind. When
    /// that is depends on the machine, and so would the run.
    pub fn make_room_to_repeat(&self, guests: usize) {
        self.0.state().more_room = ROOM_TO_REPEAT / guests.max(1);
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
                bytes: b"[the rest was dropped]\n".to_vec(),
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

    /// A new stream that writes to `target`, and begins each line with `label`.
    pub fn stream(&self, target: Target, label: &str) -> Stream {
        let mut state = self.0.state();
        let number = state.made;
        state.made += 1;
        let lines = Lines {
            target,
            label: label.as_bytes().to_vec(),
            unfinished: Vec::new(),
            waiting: 0,
            wakers: Vec::new(),
        };
        state.streams.insert(number, lines);
        Stream::new(self.0.clone(), number, target)
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

    /// Like [`Console::print`], unless too much waits to be written already. Returns whether it
    /// will be.
    pub fn try_print(&self, target: Target, text: &str) -> bool {
        let has_room = self.0.state().left_for(target) >= text.len();
        if has_room {
            self.print(target, text);
        }
        has_room
    }

    /// Called after the last guest has ended. Ends unfinished lines, takes the view off the
    /// screen, and resets a terminal that guests have changed.
    pub fn finish(&self) {
        let mut state = self.0.state();
        let streams: Vec<usize> = state.streams.keys().copied().collect();
        for number in streams {
            state.end_line(number);
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

#[cfg(test)]
mod tests {
    use super::sinks::Sinks;
    use super::state::ROOM;
    use super::*;
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Context, Waker};

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
    fn stream_without_room_waits_and_others_do_not() {
        let (console, leave, written) = slow();
        let (a, b) = (
            console.stream(Target::Stdout, ""),
            console.stream(Target::Stdout, ""),
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
            console.stream(Target::Stdout, ""),
            console.stream(Target::Stderr, ""),
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
        let stream = console.stream(Target::Stdout, "");
        stream.write(b"lost\n").unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        leave.send(Err(full())).unwrap();
        let (target, error) = console.drain(|_| false).unwrap_err();
        assert_eq!((target, error.kind()), (Target::Stdout, full().kind()));
        assert!(matches!(stream.room(), Err(Refused::Failed(_))));
        assert_eq!(stream.room().unwrap(), ROOM);
    }
}
