//! The test itself: its process, its OS threads, and how long it takes.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What takes longer hangs. Nothing is as slow as this, on the slowest machine that is
/// busy with something else.
pub const HANG: Duration = Duration::from_secs(300);

/// Fails if `body` does not return, instead of hanging.
pub fn must_end<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = body();
        let _ = sender.send(());
        result
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(HANG) {
        panic!("has not ended within {HANG:?}");
    }
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs the test `name` of `module` in a process of its own, and prints the figures
/// that it prints: for tests of what the whole process has, as OS threads, handlers of
/// signals, or memory.
pub fn in_own_process(module: &str, name: &str, test: impl FnOnce()) {
    const ALONE: &str = "PREEMPT_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let module = module.split_once("::").unwrap().1;
    let output = this_program()
        .args([&format!("{module}::{name}"), "--exact"])
        .args(["--include-ignored", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}: {stdout}{stderr}",
        output.status,
    );
    for line in stdout.lines().filter(|line| line.starts_with("- ")) {
        println!("{line}");
    }
}

/// What runs this program, if this machine cannot do so itself: `cargo xtask test --target`.
const RUNNER: &str = "PREEMPT_TEST_RUNNER";

/// Whether this program is run by an emulator.
pub fn is_emulated() -> bool {
    std::env::var_os(RUNNER).is_some()
}

/// The program that this process runs, to be run once more.
pub fn this_program() -> Command {
    let program = std::env::current_exe().unwrap();
    let Ok(runner) = std::env::var(RUNNER) else {
        return Command::new(program);
    };
    let mut words = runner.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(program);
    command
}

/// The id of this OS thread.
pub fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Waits for what another OS thread does.
pub fn spin_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        thread::yield_now();
        assert!(start.elapsed() < HANG);
    }
}

/// Waits until an OS thread of this process waits for something.
pub fn until_asleep(tid: u32) {
    let status = format!("/proc/self/task/{tid}/status");
    spin_until(|| {
        let status = std::fs::read_to_string(&status).unwrap();
        status.contains("State:\tS")
    });
}

/// How long this OS thread has been on a CPU.
pub fn os_thread_cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

/// What this process has in memory, in KiB.
pub fn resident_kib() -> usize {
    memory_kib("VmRSS:")
}

/// The most that this process ever had in memory, in KiB.
pub fn most_resident_kib() -> usize {
    memory_kib("VmHWM:")
}

fn memory_kib(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}
