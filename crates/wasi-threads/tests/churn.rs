//! Threads that are started and end, any number of them: what they leave is used again.

use crate::support::*;
use std::fs;
use std::time::Instant;
use wasmtime::*;

#[test]
fn a_thousand_threads_take_few_instances() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "churn");
        let guest = run(&engine, &module, &["1000"], short_slice(source));
        assert_eq!(guest.end(), ("1000 threads, sum 506500".to_string(), 0));
        let stats = guest.process.stats();
        assert_eq!((stats.started, stats.refused), (1000, 0), "{source}");
        // Main and eight at a time. One of these may have told that it was done, and
        // have been preempted before it was.
        assert!(stats.instances <= 1 + 8 + 8, "{source}: {stats:?}");
        assert_eq!(stats.instances, stats.most_threads, "{source}");
    }
}

/// What this process has in memory, in KiB.
fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.map_or(0, |kib| kib.parse().unwrap())
}

#[test]
#[ignore = "takes a while"]
fn a_hundred_thousand_threads_take_no_more_memory_than_a_thousand() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "churn");
        let slice = match source {
            Preemption::Fuel => Slice::Fuel(1_000_000),
            _ => Slice::Time(ms(1)),
        };
        run(&engine, &module, &["1000"], slice);
        let (before, start) = (resident_kib(), Instant::now());
        let guest = run(&engine, &module, &["100000"], slice);
        let (after, time) = (resident_kib(), start.elapsed());
        assert_eq!(
            guest.end(),
            ("100000 threads, sum 5000650000".to_string(), 0)
        );
        let stats = guest.process.stats();
        println!(
            "{source}: 100000 threads in {time:?}, {:?} each, {} instances, {} KiB more",
            time / 100_000,
            stats.instances,
            after.saturating_sub(before),
        );
        assert!(stats.instances <= 1 + 8 + 8, "{source}: {stats:?}");
        assert!(after < before + 4_096, "{source}: {before} to {after} KiB");
    }
}
