//! One stream of one guest, and waiting for room in it.

use super::state::{Chunk, LONGEST_LINE, ROOM, Shared, State};
use super::target::{Closed, Target};
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One stream of one guest. Clones are the same stream. When the last one is dropped, its
/// unfinished line is ended.
#[derive(Clone)]
pub struct Stream {
    shared: Arc<Shared>,
    number: Arc<Number>,
    pub target: Target,
}

/// The number of a stream, until nobody writes to it.
struct Number {
    shared: Arc<Shared>,
    number: usize,
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.end_line(self.number);
        let ended = state.streams.remove(&self.number);
        self.shared.notify(&mut state);
        // Unlock first: a waker may be the last to have something else that prints.
        drop(state);
        drop(ended);
    }
}

/// Why a stream accepts nothing.
#[derive(Debug)]
pub enum Refused {
    /// Nobody reads it any more.
    Closed(Closed),
    Failed(io::Error),
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, number: usize, target: Target) -> Stream {
        Stream {
            number: Arc::new(Number {
                shared: shared.clone(),
                number,
            }),
            shared,
            target,
        }
    }

    /// How many bytes the stream accepts.
    ///
    /// # Errors
    ///
    /// If an earlier write failed. Each error is reported once.
    pub fn room(&self) -> Result<usize, Refused> {
        self.shared.state().room(self.number.number)
    }

    /// Waits for room, or for an error.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.state();
        let health = state.health(self.target);
        if health.is_closed || health.failed.is_some() || state.left(self.number.number) > 0 {
            return Poll::Ready(());
        }
        let stream = state.streams.get_mut(&self.number.number);
        if let Some(wakers) = stream.map(|stream| &mut stream.wakers)
            && !wakers.iter().any(|waker| waker.will_wake(cx.waker()))
        {
            wakers.push(cx.waker().clone());
        }
        // Somebody is waiting, so do not wait for the view to be redrawn.
        state.flush = true;
        self.shared.notify(&mut state);
        Poll::Pending
    }

    /// Accepts as much of `bytes` as there is room for, and returns how much that is.
    ///
    /// # Errors
    ///
    /// As for [`Stream::room`].
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut state = self.shared.state();
        let room = state.room(self.number.number)?;
        let bytes = &bytes[..bytes.len().min(room)];
        state.write(self.number.number, bytes);
        self.shared.notify(&mut state);
        Ok(bytes.len())
    }

    /// Writes the unfinished line: somebody may have to read it before the guest can go on.
    pub fn prompt(&self) {
        let mut state = self.shared.state();
        match state.view.is_some() {
            true => state.end_line(self.number.number),
            false => state.push_unfinished(self.number.number, usize::MAX),
        }
        state.flush = true;
        self.shared.notify(&mut state);
    }
}

impl State {
    fn room(&mut self, number: usize) -> Result<usize, Refused> {
        let Some(target) = self.streams.get(&number).map(|stream| stream.target) else {
            return Ok(0);
        };
        let health = self.health(target);
        if health.is_closed {
            return Err(Refused::Closed(Closed(target)));
        }
        if let Some(error) = health.failed.take() {
            return Err(Refused::Failed(error));
        }
        Ok(self.left(number))
    }

    fn left(&self, number: usize) -> usize {
        let Some(stream) = self.streams.get(&number) else {
            return 0;
        };
        let own = stream.waiting + stream.unfinished.len();
        let own = (ROOM + self.more_room).saturating_sub(own);
        own.min(self.left_for(stream.target))
    }

    fn write(&mut self, number: usize, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let line = &mut stream.unfinished;
        line.extend_from_slice(bytes);
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => {
                let whole = line.len() - bytes.len() + end + 1;
                self.push_unfinished(number, whole);
            }
            None if line.len() > LONGEST_LINE => self.push_unfinished(number, usize::MAX),
            None => {}
        }
    }

    /// Ends a stream's unfinished line, if there is one.
    pub(super) fn end_line(&mut self, number: usize) {
        if let Some(stream) = self.streams.get_mut(&number)
            && !stream.unfinished.is_empty()
        {
            stream.unfinished.push(b'\n');
            self.push_unfinished(number, usize::MAX);
        }
    }

    /// Moves the first `len` bytes of a stream's unfinished line into the queue.
    fn push_unfinished(&mut self, number: usize, len: usize) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let line = &mut stream.unfinished;
        let rest = line.split_off(len.min(line.len()));
        let bytes = mem::replace(line, rest);
        if bytes.is_empty() {
            return;
        }
        let (target, bytes) = (stream.target, stream.labelled(bytes));
        self.push(Chunk {
            target,
            bytes,
            stream: Some(number),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::MOST_WAITING;
    use super::*;
    use crate::console::Console;
    use indicatif::ProgressBar;

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

    #[test]
    fn lines_of_two_guests_never_mix() {
        let console = console();
        let (a, b) = (
            console.stream(Target::Stdout, ""),
            console.stream(Target::Stdout, ""),
        );
        for (stream, text) in [(&a, "one "), (&b, "two\nth"), (&a, "line\n"), (&b, "ree\n")] {
            stream.write(text.as_bytes()).unwrap();
        }
        let lines = waiting(&console).into_iter().map(|(_, line)| line);
        assert!(lines.eq(["two\n", "one line\n", "three\n"]));
    }

    #[test]
    fn label_is_before_each_line() {
        let console = console();
        let stream = console.stream(Target::Stdout, "a | ");
        stream.write(b"one\n\ntwo").unwrap();
        stream.write(b" three\nname? ").unwrap();
        stream.prompt();
        stream.write(b"four").unwrap();
        console.finish();
        let lines = waiting(&console).into_iter().map(|(_, line)| line);
        let lines: String = lines.collect();
        let expected = "a | one\na | \na | two three\na | name? \na | four\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn parts_of_a_labelled_line_are_lines() {
        let console = console();
        let stream = console.stream(Target::Stdout, "a | ");
        for _ in 0..=LONGEST_LINE {
            stream.write(b"x").unwrap();
        }
        stream.write(b"y\n").unwrap();
        let lines = waiting(&console);
        assert!(lines[0].1.starts_with("a | x") && lines[0].1.ends_with("x\n"));
        assert_eq!(lines[1].1, "a | y\n");
    }

    #[test]
    fn order_of_stdout_and_stderr_is_kept() {
        let console = console();
        let (out, err) = (
            console.stream(Target::Stdout, ""),
            console.stream(Target::Stderr, ""),
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
    fn stream_that_nobody_writes_to_leaves_its_last_line_and_nothing_else() {
        let console = console();
        for _ in 0..3 {
            let stream = console.stream(Target::Stdout, "a | ");
            let clone = stream.clone();
            stream.write(b"one\ntwo").unwrap();
            drop(stream);
            clone.write(b" three").unwrap();
        }
        let lines: String = waiting(&console)
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        assert_eq!(lines, "a | one\na | two three\n".repeat(3));
        assert!(console.0.state().streams.is_empty());
    }

    #[test]
    fn what_waits_for_a_target_is_bounded_however_many_streams_there_were() {
        let console = console();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let written = (0..2 * MOST_WAITING / ROOM).map(|_| {
            let stream = console.stream(Target::Stdout, "");
            (0..ROOM / 1024)
                .map(|_| stream.write(&line).unwrap())
                .sum::<usize>()
        });
        assert_eq!(written.sum::<usize>(), MOST_WAITING);
        assert!(console.stream(Target::Stderr, "").room().unwrap() > 0);
        assert!(!console.try_print(Target::Stdout, "lost"));
    }

    #[test]
    fn endless_line_is_not_held_back_for_ever() {
        let console = console();
        let stream = console.stream(Target::Stderr, "");
        for _ in 0..LONGEST_LINE {
            stream.write(b"x").unwrap();
        }
        assert!(waiting(&console).is_empty());
        stream.write(b"x").unwrap();
        assert_eq!(waiting(&console)[0].1.len(), LONGEST_LINE + 1);
    }
}
