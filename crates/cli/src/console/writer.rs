//! The OS thread that writes what was printed: the only thread that a slow reader or a
//! stopped terminal holds up.

use super::sinks::Sinks;
use super::state::{Chunk, Shared, State};
use super::target::Target;
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::thread;

/// How much to write at once. Small, so that a slow reader is not mistaken for one that
/// does not read at all.
const PIECE: usize = 4096;

/// What to do next.
struct Work {
    chunks: VecDeque<Chunk>,
    view: Option<ProgressBar>,
    shown: Option<String>,
    cleared: Option<ProgressBar>,
}

impl Shared {
    /// Called after a change of `state`: gives the writer its work, if there is any.
    pub(super) fn notify(self: &Arc<Self>, state: &mut State) {
        if !state.has_work() {
            return;
        }
        if !mem::replace(&mut state.has_writer, true) {
            let sinks = state.sinks.take().unwrap_or_default();
            let shared = self.clone();
            let writer = thread::Builder::new().name("console".to_string());
            let started = writer.spawn(move || shared.write_for_ever(sinks));
            if let Err(error) = started {
                state.queue.clear();
                (state.stdout.waiting, state.stderr.waiting) = (0, 0);
                (state.shown, state.cleared) = (None, None);
                state.has_writer = false;
                state.fail(Target::Stdout, error);
                return;
            }
        }
        self.changed.notify_all();
    }

    fn write_for_ever(&self, mut sinks: Sinks) {
        loop {
            let work = self.next();
            if let Some(view) = work.cleared {
                view.finish_and_clear();
            }
            let has_lines = !work.chunks.is_empty();
            let write = || self.write(&mut sinks, work.chunks);
            match &work.view {
                Some(view) if has_lines => view.suspend(write),
                _ => write(),
            }
            if let (Some(view), Some(shown)) = (work.view, work.shown) {
                view.set_message(shown);
            }
            self.state().is_writing = false;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Work {
        let mut state = self.state();
        while !state.has_work() {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_writing = true;
        state.flush = false;
        Work {
            chunks: mem::take(&mut state.queue),
            view: state.view.clone(),
            shown: state.shown.take(),
            cleared: state.cleared.take(),
        }
    }

    fn write(&self, sinks: &mut Sinks, mut chunks: VecDeque<Chunk>) {
        while let Some(first) = chunks.pop_front() {
            let target = first.target;
            let mut bytes = first.bytes;
            let mut lens = vec![(first.stream, bytes.len())];
            // Combines lines of many guests into one write.
            while let Some(next) = chunks.pop_front_if(|next| {
                next.target == target && bytes.len() + next.bytes.len() <= PIECE
            }) {
                lens.push((next.stream, next.bytes.len()));
                bytes.extend(next.bytes);
            }
            let mut written = Ok(());
            if !self.state().health(target).is_closed {
                for piece in bytes.chunks(PIECE) {
                    written = written.and_then(|()| sinks.write(target, piece));
                    self.state().pieces += 1;
                }
            }
            self.wrote(target, written, lens);
        }
    }

    fn wrote(&self, target: Target, written: io::Result<()>, lens: Vec<(Option<usize>, usize)>) {
        let mut state = self.state();
        for (stream, len) in lens {
            let all = &mut state.health(target).waiting;
            *all = all.saturating_sub(len);
            if let Some(stream) = stream.and_then(|number| state.streams.get_mut(&number)) {
                stream.waiting = stream.waiting.saturating_sub(len);
            }
        }
        if let Err(error) = written {
            state.fail(target, error);
        }
        let streams = state.streams.values_mut().filter(|of| of.target == target);
        let wakers: Vec<Waker> = streams.flat_map(|of| mem::take(&mut of.wakers)).collect();
        // Unlock first: the tasks may ask how much room there is.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn fail(&mut self, target: Target, error: io::Error) {
        let health = self.health(target);
        if error.kind() == ErrorKind::BrokenPipe {
            health.is_closed = true;
        } else {
            let same = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            health.first.get_or_insert(same);
            health.failed = Some(error);
        }
    }
}
