//! What guests have printed and the writer has not written yet.

use super::sinks::Sinks;
use super::target::Target;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// How many bytes of a stream may wait, including its unfinished line.
pub const ROOM: usize = 64 * 1024;

/// How many bytes for a target may wait in all before streams have to.
pub const MOST_WAITING: usize = 16 * 1024 * 1024;

/// A longer line is written in parts.
pub const LONGEST_LINE: usize = ROOM / 2;

/// The most bytes to hold back for [`Console::release`](super::Console::release).
pub const MOST_HELD_FOR_RELEASE: usize = 1024 * 1024;

/// Undoes what a guest may have done to a terminal: a control string, the alternate screen,
/// margins, colours, a hidden cursor, another character set.
const RESET: &[u8] = b"\x1b\\\x1b[?1047l\x1b[!p\x1b[0m\x1b[?25h\x1b[?7h\x1b(B\x0f";

#[derive(Default)]
pub struct Shared {
    pub state: Mutex<State>,
    /// Signalled when there is something to write, or when it has been written.
    pub changed: Condvar,
}

#[derive(Default)]
pub struct State {
    /// Where to write, until a writer starts and takes them.
    pub sinks: Option<Sinks>,
    pub has_writer: bool,
    /// Whether the writer is writing.
    pub is_writing: bool,
    /// How many pieces it has written.
    pub pieces: u64,
    pub view: Option<ProgressBar>,
    /// A view to be taken off the screen.
    pub cleared: Option<ProgressBar>,
    /// What the view should show next.
    pub shown: Option<String>,
    /// Whether to write the lines even though a view is on the screen.
    pub flush: bool,
    /// Those that are still written to, by their numbers.
    pub streams: BTreeMap<usize, Lines>,
    /// How many streams there were.
    pub made: usize,
    /// How many bytes of a stream may wait besides [`ROOM`].
    pub more_room: usize,
    /// In the order in which the chunks were printed.
    pub queue: VecDeque<Chunk>,
    pub stdout: Health,
    pub stderr: Health,
    /// Output that is held back, perhaps forever.
    pub held: Option<Held>,
}

/// One stream of a guest.
pub struct Lines {
    pub target: Target,
    /// What each of its lines begins with. If it is not empty, chunks are whole lines.
    pub label: Vec<u8>,
    pub unfinished: Vec<u8>,
    /// How many of its bytes are in the queue.
    pub waiting: usize,
    /// Whoever is waiting for room.
    pub wakers: Vec<Waker>,
}

/// A piece of output to be written.
pub struct Chunk {
    pub target: Target,
    pub bytes: Vec<u8>,
    /// The number of its stream.
    pub stream: Option<usize>,
}

/// What is known about a [`Target`].
#[derive(Default)]
pub struct Health {
    pub is_closed: bool,
    /// How many bytes for it are in the queue, or are being written.
    pub waiting: usize,
    /// The last error that no guest has been told about.
    pub failed: Option<io::Error>,
    /// The first error ever.
    pub first: Option<io::Error>,
    /// Whether a guest may have changed the state of a terminal.
    pub is_changed: bool,
}

#[derive(Default)]
pub struct Held {
    pub chunks: Vec<Chunk>,
    pub bytes: usize,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// The lines in `bytes`, with their label.
    pub fn labelled(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.label.is_empty() {
            return bytes;
        }
        let mut labelled = Vec::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            labelled.extend_from_slice(&self.label);
            labelled.extend_from_slice(line);
        }
        if !labelled.ends_with(b"\n") {
            labelled.push(b'\n');
        }
        labelled
    }
}

impl State {
    pub fn health(&mut self, target: Target) -> &mut Health {
        match target {
            Target::Stdout => &mut self.stdout,
            Target::Stderr => &mut self.stderr,
        }
    }

    /// Whether the writer has something to do.
    pub fn has_work(&self) -> bool {
        let waits_for_view = self.view.is_some() && !self.flush;
        self.shown.is_some()
            || self.cleared.is_some()
            || (!self.queue.is_empty() && !waits_for_view)
    }

    pub fn push(&mut self, mut chunk: Chunk) {
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
        let stream = chunk
            .stream
            .and_then(|number| self.streams.get_mut(&number));
        if let Some(stream) = stream {
            stream.waiting += chunk.bytes.len();
        }
        self.health(chunk.target).waiting += chunk.bytes.len();
        self.queue.push_back(chunk);
    }

    /// How many bytes for a target may be added to those that wait.
    pub fn left_for(&self, target: Target) -> usize {
        let waiting = match target {
            Target::Stdout => self.stdout.waiting,
            Target::Stderr => self.stderr.waiting,
        };
        match self.more_room {
            0 => MOST_WAITING.saturating_sub(waiting),
            _ => usize::MAX,
        }
    }

    /// Resets terminals that guests' output may have changed.
    pub fn reset_terminals(&mut self) {
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
pub fn changes_terminal(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| [0x1b, 0x0e].contains(byte))
}
