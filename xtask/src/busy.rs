//! Processes that keep the machine busy while tests run.

use anyhow::{Context, Result};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Ends its processes when dropped. They also end when this process does, however that
/// happens, because each one reads from a pipe whose other end this process holds.
pub struct Busy {
    spinners: Vec<Child>,
}

impl Busy {
    /// Starts this many processes of `xtask`.
    pub fn start(xtask: &Path, processes: usize) -> Result<Busy> {
        let mut busy = Busy {
            spinners: Vec::new(),
        };
        for _ in 0..processes {
            let mut spinner = Command::new(xtask);
            spinner.arg("spin").stdin(Stdio::piped());
            let spinner = spinner
                .spawn()
                .with_context(|| format!("cannot start {}", xtask.display()))?;
            busy.spinners.push(spinner);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for spinner in &mut self.spinners {
            // Also closes the pipe. One that ended earlier was interrupted, like us.
            let _ = spinner.wait();
        }
    }
}

/// What each of the processes does.
pub fn spin() -> Result<()> {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for the end of stdin")?;
    Ok(())
}
