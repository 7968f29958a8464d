//! What the operating system says about this process, and its threads in turns.
//!
//! What happens on one OS thread is timed by the CPU time of that thread, which
//! stands still while another process has the core.

pub use crate::served::cpu_time;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

/// How often the OS has taken the core away from the calling OS thread.
pub fn taken_off_core() -> Result<i64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("cannot ask what this thread uses")?;
    Ok(usage.involuntary_context_switches())
}

/// How much CPU time of the calling OS thread `run` takes.
pub fn timed<R>(run: impl FnOnce() -> Result<R>) -> Result<(Duration, R)> {
    let start = cpu_time();
    let result = run()?;
    Ok((cpu_time() - start, result))
}

/// Resident memory of this process, in bytes, of which page tables are no part.
///
/// # Errors
///
/// If this is not Linux.
pub fn resident() -> Result<u64> {
    let path = "/proc/self/statm";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    let Some(pages) = pages else {
        bail!("{path} has no second number: `{}`", text.trim());
    };
    Ok(pages * rustix::param::page_size() as u64)
}

/// What the kernel uses for the page tables of this process, in bytes.
///
/// # Errors
///
/// If this is not Linux.
pub fn page_tables() -> Result<u64> {
    let path = "/proc/self/status";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmPTE:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|n| n.parse::<u64>().ok());
    let Some(kib) = kib else {
        bail!("{path} has no line `VmPTE: <number> kB`");
    };
    Ok(kib * 1024)
}

/// Which cores the two threads of [`hand_over`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// Those of the process.
    Any,
    /// One, the same for both: this is what guest threads have.
    One,
}

/// How long `times` hand-overs take between two OS threads of which one sleeps
/// whenever the other one runs.
pub fn hand_over(times: u64, cores: Cores) -> Result<Duration> {
    let one = match cores {
        Cores::Any => None,
        Cores::One => Some(one_core()?),
    };
    let turn = AtomicUsize::new(0);
    let threads: [OnceLock<Thread>; 2] = Default::default();
    let (start, failed) = (Barrier::new(2), AtomicBool::new(false));

    let body = |me: usize| {
        if let Some(core) = &one
            && sched_setaffinity(None, core).is_err()
        {
            failed.store(true, Ordering::Relaxed);
        }
        let _ = threads[me].set(thread::current());
        start.wait();
        let other = threads[1 - me].wait();
        let begin = Instant::now();
        for _ in 0..times.div_ceil(2) {
            while turn.load(Ordering::Acquire) != me {
                thread::park();
            }
            turn.store(1 - me, Ordering::Release);
            other.unpark();
        }
        begin.elapsed()
    };
    let took = thread::scope(|scope| {
        let other = scope.spawn(|| body(1));
        let took = scope.spawn(|| body(0)).join();
        other.join().and(took)
    });
    let Ok(took) = took else {
        bail!("a thread of the hand-over panicked");
    };
    if failed.into_inner() {
        bail!("cannot bind a thread to one core");
    }
    Ok(took.mul_f64(times as f64 / (2 * times.div_ceil(2)) as f64))
}

/// The last of the cores that this process may use.
pub fn one_core() -> Result<CpuSet> {
    let all = sched_getaffinity(None).context("cannot ask for the cores of this process")?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| all.is_set(cpu));
    let Some(last) = last else {
        bail!("this process may use no core");
    };
    let mut one = CpuSet::new();
    one.set(last);
    Ok(one)
}
