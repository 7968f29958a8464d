//! A server: `preempt serve`, and its clients.

use super::Mode;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Nothing takes as long on any machine: what does hangs.
pub const HANGS: Duration = Duration::from_secs(300);

/// `preempt serve` of `fixtures/serve.wat`.
pub struct Server {
    process: Child,
    address: String,
    /// What it prints to stderr after its address.
    log: Option<JoinHandle<String>>,
}

/// What a server has printed until it was stopped.
pub struct Stopped {
    pub status: i32,
    pub log: String,
}

/// `preempt serve ARGS`, in the folder of the fixtures.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preempt"));
    command
        .arg("serve")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Server {
    pub fn start(mode: Mode, options: &[&str]) -> Server {
        let all = ["--addr=127.0.0.1:0", "--preemption", mode.name];
        let mut process = command(&[&all, options, &["serve.wat"]].concat())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Serving HTTP on http://");
        let address = address.unwrap_or_else(|| panic!("{options:?}: {line}"));
        let address = address.trim_end_matches('/').to_string();
        let log = thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        Server {
            process,
            address,
            log: Some(log),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it takes connections.
    pub fn accepts(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }

    /// How many descriptors it has.
    #[cfg(target_os = "linux")]
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// How much CPU time it has used.
    #[cfg(target_os = "linux")]
    pub fn cpu_time(&self) -> Duration {
        /// The unit of these figures is the same for all programs: `USER_HZ`.
        const PER_SECOND: u64 = 100;
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).unwrap();
        // The name of the program, in parentheses, may contain spaces.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 1000 / PER_SECOND)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream
    }

    /// Sends a request without a body, and does not wait for its answer.
    pub fn send(&self, path: &str) -> TcpStream {
        self.send_with(path, "")
    }

    /// With these headers, each with its end of line.
    pub fn send_with(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Response {
        response(self.send(path))
    }

    pub fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(killed.success());
    }

    /// Stops it, and waits until it has ended.
    pub fn stop(self) -> Stopped {
        self.signal("-INT");
        self.wait()
    }

    pub fn wait(mut self) -> Stopped {
        let status = self.process.wait().unwrap();
        let log = self.log.take().map(|log| log.join().unwrap());
        Stopped {
            status: status.code().expect("ended by a signal"),
            log: log.unwrap_or_default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: String,
    /// Whether the connection was closed before the end of the body.
    pub is_cut: bool,
}

impl Response {
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub fn has_header(&self, line: &str) -> bool {
        self.head.lines().any(|header| header == line)
    }
}

/// Reads an answer, until the connection is closed.
#[track_caller]
pub fn response(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it hangs");
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let head = head.to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let (body, is_cut) = match length {
        Some(length) => (rest.to_string(), rest.len() < length.parse().unwrap()),
        None => chunks(rest),
    };
    Response {
        status: status.unwrap_or_else(|| panic!("no answer but `{text}`")),
        head,
        body,
        is_cut,
    }
}

/// The body in these chunks, and whether the last one is missing.
fn chunks(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    loop {
        let Some((length, after)) = rest.split_once("\r\n") else {
            return (body, true);
        };
        match usize::from_str_radix(length, 16).unwrap() {
            0 => return (body, false),
            length if length > after.len() => return (body + after, true),
            length => {
                body += &after[..length];
                rest = after[length..].trim_start_matches("\r\n");
            }
        }
    }
}
