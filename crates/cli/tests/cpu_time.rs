//! CPU time is what the OS gave to the guests, however busy the machine is.

#![cfg(target_os = "linux")]

mod common;

use common::each_mode;
use serde_json::Value;
use std::hint;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What a command printed, and the CPU time that it has used, in milliseconds.
fn timed(args: &[&str]) -> (Value, f64) {
    let output = Command::new("sh")
        .args(["-c", r#""$@"; times >&2"#, "sh"])
        .arg(env!("CARGO_BIN_EXE_preempt"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // The second line is about children: `0m0.25s 0m0.01s`.
    let ms = stderr
        .lines()
        .last()
        .unwrap()
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.split_once('m').unwrap();
            let seconds: f64 = seconds.trim_end_matches('s').parse().unwrap();
            (minutes.parse::<f64>().unwrap() * 60.0 + seconds) * 1000.0
        });
    let json = serde_json::from_slice(&output.stdout).expect(&stderr);
    (json, ms.sum())
}

/// Ends the threads that spin, also if the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn time_of_other_processes_is_not_counted() {
    // More than there are cores, so that the command has to wait for one.
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&over);
        for _ in 0..4 * cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let measured: Vec<(Value, f64)> = each_mode()
            .map(|mode| {
                let options = ["run", "--json", "--for=1s", "--preemption", mode.name];
                let guests = ["spin.wat", "threads/spin.wasm"];
                timed(&[&options[..], &guests].concat())
            })
            .collect();
        drop(ends);
        for (json, most) in measured {
            let used = json["cpu_time_ms"].as_f64().unwrap();
            let threads = json["threads"].as_array().unwrap();
            let each = threads
                .iter()
                .map(|row| row["cpu_time_ms"].as_f64().unwrap());
            assert!((each.sum::<f64>() - used).abs() < 0.01, "{json}");
            // The shell rounds.
            assert!(used > 0.0 && used <= most + 20.0, "{most} ms for {json}");
        }
    });
}
