//! Processes that keep the machine busy while tests run.

use anyhow::{Context, Result};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Ends its processes when it is dropped. They also end when this process does,
/// however it does, as each reads from a pipe of which this process has the other end.
pub struct Busy {
    spinners: Vec<Child>,
}

impl Busy {
    /// Starts so many processes of `xtask`.
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
            // Closes the pipe too. What ended before was interrupted, as this process is.
            let _ = spinner.wait();
        }
    }
}

/// What each of them does.
pub fn spin() -> Result<()> {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for the end of stdin")?;
    Ok(())
}
