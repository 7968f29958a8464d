//! Where the console writes.

use super::target::Target;
use std::io::{self, Write};

/// Where to write.
pub struct Sinks {
    pub stdout: Box<dyn Write + Send>,
    pub stderr: Box<dyn Write + Send>,
}

impl Default for Sinks {
    fn default() -> Sinks {
        Sinks {
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
        }
    }
}

impl Sinks {
    pub fn write(&mut self, target: Target, bytes: &[u8]) -> io::Result<()> {
        let sink = match target {
            Target::Stdout => &mut self.stdout,
            Target::Stderr => &mut self.stderr,
        };
        sink.write_all(bytes)?;
        sink.flush()
    }
}
