//! What a dispatch costs: `next` and `preempted`, by policy and by the number of
//! runnable threads.
//!
//! `cargo bench -p preempt-policies`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use preempt_policies::{
    EarliestDeadlineFirst, Pct, Priority, Random, Recorder, Replay, RoundRobin, WeightedFair,
};
use wasmtime::ThreadId;
use wasmtime::preempt::{ThreadParams, ThreadScheduler};

const SLICE: u64 = 1_000_000;

/// Threads of different weights and priorities, `per_group` to a group. They have
/// no deadlines: with one, the earliest would be picked again and again, which
/// costs less than turns do.
fn filled<S: ThreadScheduler>(mut policy: S, threads: u64, per_group: Option<u64>) -> S {
    for number in 0..threads {
        let mut params = ThreadParams::default();
        params.weight = u32::try_from(1 + number % 7).unwrap();
        params.priority = i32::try_from(number % 5).unwrap();
        params.group = per_group.map_or(0, |size| 1 + number / size);
        policy.spawned(0, ThreadId::from_u64(1 + number), &params);
    }
    policy
}

fn dispatch<S: ThreadScheduler>(policy: &mut S, now: &mut u64) {
    let pick = policy.next(*now).unwrap();
    *now += SLICE;
    policy.preempted(*now, pick.thread, SLICE);
}

fn bench<S: ThreadScheduler>(
    criterion: &mut Criterion,
    name: &str,
    per_group: Option<u64>,
    new: impl Fn() -> S,
) {
    let mut group = criterion.benchmark_group(name);
    for threads in [10, 1_000, 100_000, 1_000_000] {
        let mut policy = filled(new(), threads, per_group);
        let mut now = 0;
        // A while into the run, so that the threads have come apart.
        for _ in 0..threads.min(100_000) * 3 {
            dispatch(&mut policy, &mut now);
        }
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            bencher.iter(|| dispatch(&mut policy, &mut now));
        });
    }
    group.finish();
}

fn policies(criterion: &mut Criterion) {
    bench(criterion, "round robin", None, RoundRobin::new);
    bench(criterion, "fair", None, || WeightedFair::new(SLICE));
    bench(criterion, "fair, groups of 10", Some(10), || {
        WeightedFair::new(SLICE)
    });
    bench(criterion, "priority", None, || Priority::new(1_000 * SLICE));
    bench(criterion, "deadline", None, EarliestDeadlineFirst::new);
    bench(criterion, "random", None, || {
        Random::seeded(1).slices(1..=SLICE)
    });
    bench(criterion, "pct", None, || Pct::new(1, 1_000, 1_000_000, 3));
    bench(criterion, "recorder of round robin", None, || {
        Recorder::new(RoundRobin::new())
    });
    bench(criterion, "replay", None, || {
        // Of the first thread forever: what is measured is the queue.
        let once = "preempt-schedule 1\npicks 1000000000000\n1*1000000000000\n";
        Replay::new(once.parse().unwrap())
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = policies
}
criterion_main!(benches);
