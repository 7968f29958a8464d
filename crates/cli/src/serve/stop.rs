//! Ctrl-C, SIGTERM and SIGHUP stop the server once its requests are answered. A second one ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// The status that a shell gives a command ended by Ctrl-C.
const ENDED: i32 = 130;

pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// From now on, handles Ctrl-C here. Once in a process.
    ///
    /// # Errors
    ///
    /// If the OS cannot provide a thread to wait for it.
    pub fn listen() -> Result<Stop> {
        let (sender, receiver) = watch::channel(false);
        let was_asked = AtomicBool::new(false);
        let stop = move || {
            if was_asked.swap(true, Ordering::Relaxed) {
                std::process::exit(ENDED);
            }
            sender.send_replace(true);
        };
        ctrlc::set_handler(stop).context("cannot wait for Ctrl-C")?;
        Ok(Stop(receiver))
    }

    /// Waits until the server is to be stopped.
    pub async fn asked(&mut self) {
        // The sender is never dropped.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
