//! This process's streams.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};

/// One of this process's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    Stderr,
}

impl Target {
    pub fn is_terminal(self) -> bool {
        match self {
            Target::Stdout => io::stdout().is_terminal(),
            Target::Stderr => io::stderr().is_terminal(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Stdout => "stdout",
            Target::Stderr => "stderr",
        })
    }
}

/// The error that ends a guest which prints to a stream that nobody reads any more.
#[derive(Clone, Copy, Debug)]
pub struct Closed(pub Target);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is closed", self.0)
    }
}

impl Error for Closed {}
