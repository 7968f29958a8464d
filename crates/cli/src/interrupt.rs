//! Ctrl-C ends the guests, and with them the run, so that its report and its
//! trace are written. A second one ends the command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wasmtime::error::Context as _;
use wasmtime::{Result, ThreadHandle};

/// What a shell makes of a command that SIGINT has ended.
const ENDED_BY_SIGINT: i32 = 130;

/// Whether there was a Ctrl-C.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on a Ctrl-C ends these guests. Once in a process.
    ///
    /// # Errors
    ///
    /// If the OS has no thread to wait for it.
    pub fn ends(guests: Vec<ThreadHandle>) -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        let asked = interrupt.clone();
        let end = move || {
            if asked.0.swap(true, Ordering::Relaxed) {
                std::process::exit(ENDED_BY_SIGINT);
            }
            guests.iter().for_each(ThreadHandle::kill);
        };
        ctrlc::set_handler(end).context("cannot wait for Ctrl-C")?;
        Ok(interrupt)
    }

    pub fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
