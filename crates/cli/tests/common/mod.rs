//! Runs the `preempt` command as a user would.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod components;
pub mod server;

use preempt_trace::text;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::Preemption;
use wasmtime::preempt::Trace;

pub struct Ran {
    args: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// `preempt run ARGS`, in the folder of the fixtures, with an empty stdin.
pub fn run(args: &[&str]) -> Ran {
    run_with_stdin(args, "")
}

pub fn run_with_stdin(args: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_preempt"))
        .arg("run")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .env("SECRET", "of the host")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whether it is read is the guests' matter.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        args: args.join(" "),
        status: output.status.code().expect("killed by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// One of the values of `--preemption`.
#[derive(Clone, Copy)]
pub struct Mode {
    pub name: &'static str,
    /// More than any guest needs that ends.
    long_slice: &'static str,
}

/// Those that work on this machine.
pub fn each_mode() -> impl Iterator<Item = Mode> {
    let mode = |name, long_slice| Mode { name, long_slice };
    [
        mode("signal", "--slice=1h"),
        mode("epoch", "--slice=1h"),
        mode("fuel", "--slice=1000000000000"),
    ]
    .into_iter()
    .filter(|mode| mode.name != "signal" || signals_work())
}

pub fn signals_work() -> bool {
    matches!(Preemption::for_this_host(), Preemption::Signal)
}

/// What a guest may use between two checks of fuel.
pub const FUEL_TOLERANCE: u64 = 1000;

impl Mode {
    /// By how much a slice may be too long: the machine that the tests are on has other
    /// things to do, and nobody knows how many.
    pub fn tolerance(self) -> u64 {
        match self.name {
            "fuel" => FUEL_TOLERANCE,
            _ => 60_000_000_000,
        }
    }

    /// About as short as slices can be.
    pub fn short_slice(self) -> &'static str {
        match self.name {
            "fuel" => "1000",
            _ => "100us",
        }
    }

    /// [`run`] with this preemption.
    pub fn run(self, args: &[&str]) -> Ran {
        run(&[&["--preemption", self.name], args].concat())
    }

    /// Runs guests one after the other: each ends within its first slice.
    pub fn run_one_by_one(self, args: &[&str]) -> Ran {
        self.run_one_by_one_with_stdin(args, "")
    }

    pub fn run_one_by_one_with_stdin(self, args: &[&str], stdin: &str) -> Ran {
        let options = ["--preemption", self.name, self.long_slice];
        run_with_stdin(&[&options, args].concat(), stdin)
    }
}

impl Ran {
    /// Checks the status, and shows what was printed if it is another.
    #[track_caller]
    pub fn expect(self, status: i32) -> Ran {
        assert_eq!(
            self.status, status,
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.args, self.stdout, self.stderr
        );
        self
    }

    /// What `--json` printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// Waits until the process `id` has a handler of SIGINT, before which the signal would
/// end it.
#[cfg(unix)]
pub fn until_it_listens(id: u32) {
    const SIGINT: u32 = 2;
    loop {
        let status = read(&format!("/proc/{id}/status"));
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & 1 << (SIGINT - 1) != 0 {
            return;
        }
        let ended = status.lines().any(|line| line.starts_with("State:\tZ"));
        assert!(!ended, "it has ended");
        std::thread::yield_now();
    }
}

/// `preempt run ARGS` must fail as bad usage, say all of `parts`, and print
/// nothing to stdout.
#[track_caller]
pub fn bad_usage(args: &[&str], parts: &[&str]) {
    let ran = run(args).expect(2);
    assert_eq!(ran.stdout, "", "{args:?}");
    for part in parts {
        assert!(
            ran.stderr.contains(part),
            "{args:?} does not say `{part}` but:\n{}",
            ran.stderr
        );
    }
}

/// A file with this content for the test of this name.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // All at once, as another test may be about to read one of this name.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let nth = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let new = path.with_added_extension(format!("{}-{nth}", std::process::id()));
    std::fs::write(&new, content).unwrap();
    std::fs::rename(&new, &path).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// A path for what the test of this name writes.
pub fn out(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path.into_os_string().into_string().unwrap()
}

#[track_caller]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The trace in this file, which is text.
#[track_caller]
pub fn read_trace(path: &str) -> Trace {
    text::parse(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A guest with threads that takes much longer than any test does.
pub const ENDLESS: &str = "threads/spin.wasm(60,10000000)";

/// The guests in what `--json` printed.
pub fn rows(json: &Value) -> &Vec<Value> {
    json["threads"].as_array().unwrap()
}

/// What guests have printed, under `--json`, at last.
pub fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}
