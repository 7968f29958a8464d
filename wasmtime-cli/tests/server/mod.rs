//! Upstream's `wasmtime serve`, with a guest that spins if asked to.

#![allow(dead_code, reason = "its users use parts of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Nothing takes as long on any machine: what does hangs.
pub const HANGS: Duration = Duration::from_secs(300);

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

pub fn wasmtime(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmtime"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A command's options to serve.
pub const SERVE: [&str; 2] = ["serve", "--addr=127.0.0.1:0"];

/// `wasmtime serve` of the guest that spins if asked to.
pub struct Server {
    process: Child,
    address: String,
}

impl Server {
    pub fn start(timeout: &str, delivery: &str) -> Server {
        Server::with(&[&format!("-Wtimeout={timeout},epoch-delivery={delivery}")])
    }

    /// With these options.
    pub fn with(options: &[&str]) -> Server {
        Server::of(&fixture("serve.wat"), options)
    }

    /// Of another guest.
    pub fn of(guest: &Path, options: &[&str]) -> Server {
        Server::run(wasmtime(&SERVE).args(options), guest)
    }

    /// Runs `command serve` for a guest.
    pub fn run(command: &mut Command, guest: &Path) -> Server {
        let mut process = command.arg(guest).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Serving HTTP on http://");
        let address = address.unwrap_or_else(|| panic!("{line}"));
        let address = address.trim_end_matches('/').to_string();
        // It reports each request that fails.
        thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        Server { process, address }
    }

    pub fn send(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> String {
        answer(&mut self.send(path))
    }

    /// How many of these files the process has in /proc.
    #[cfg(target_os = "linux")]
    pub fn count(&self, what: &str) -> usize {
        let path = format!("/proc/{}/{what}", self.process.id());
        match what {
            "maps" => fs::read_to_string(path).unwrap().lines().count(),
            _ => fs::read_dir(path).unwrap().count(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// All that is sent until the connection is closed.
pub fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset also closes it.
    if let Err(error) = read {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it hangs");
    }
    String::from_utf8(answer).unwrap()
}
