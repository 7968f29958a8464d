//! Ctrl-C and SIGTERM end the guests, and so the run, so that its report and its trace are
//! still written. A second one ends the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::Result;
use wasmtime::error::Context as _;
use wasmtime::preempt::RemoteThread;

/// The status that a shell gives a command ended by SIGINT.
const ENDED_BY_SIGINT: i32 = 130;

/// Whether there was a Ctrl-C.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    asked: AtomicBool,
    /// Whether Ctrl-C is handled here.
    waits: AtomicBool,
    guests: Mutex<Vec<RemoteThread>>,
}

impl State {
    fn guests(&self) -> MutexGuard<'_, Vec<RemoteThread>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// From now on, handles Ctrl-C here. Only one `Interrupt` in a process may do this.
    ///
    /// # Errors
    ///
    /// If the OS cannot provide a thread to wait for it.
    pub fn listen(&self) -> Result<()> {
        if self.0.waits.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let state = self.0.clone();
        let end = move || {
            let guests = state.guests();
            if state.asked.swap(true, Ordering::Relaxed) {
                std::process::exit(ENDED_BY_SIGINT);
            }
            guests.iter().for_each(RemoteThread::kill);
        };
        ctrlc::set_handler(end).context("cannot wait for Ctrl-C")
    }

    /// From now on, a Ctrl-C ends these guests, and no longer those of an earlier call.
    pub fn ends(&self, guests: Vec<RemoteThread>) {
        let mut current = self.0.guests();
        *current = guests;
        if self.happened() {
            current.iter().for_each(RemoteThread::kill);
        }
    }

    pub fn happened(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }
}
