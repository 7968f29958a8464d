//! The numbers of a trace are those of its schedule.

use crate::support::*;
use preempt_trace::stats::Stats;
use proptest::prelude::*;
use wasmtime::preempt::Traced::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn numbers_are_those_of_the_schedule(schedule in schedules()) {
        let trace = &schedule.trace;
        let stats = Stats::of(trace);
        let cpu = cpu_times(trace);
        prop_assert_eq!(stats.threads.len(), cpu.len());
        for thread in &stats.threads {
            let of_thread = || trace.events.iter().filter(|e| e.thread == thread.thread);
            let count = |what| of_thread().filter(|e| e.what == what).count() as u64;
            prop_assert_eq!(thread.cpu, cpu[&thread.thread]);
            prop_assert_eq!(thread.slices, of_thread().filter(|e| is_dispatch(e)).count() as u64);
            prop_assert_eq!(thread.preemptions, count(Preempted));
            prop_assert_eq!(thread.yields, count(Yielded));
            prop_assert_eq!(thread.exit, of_thread().next_back().map(|e| e.what));
            let life = of_thread().next_back().unwrap().at - of_thread().next().unwrap().at;
            prop_assert!(thread.cpu + thread.waiting + thread.parked <= life);
        }
        let dispatches = trace.events.iter().filter(|e| is_dispatch(e)).count() as u64;
        prop_assert_eq!(stats.latency.len(), dispatches);
        prop_assert_eq!(stats.slices.len(), dispatches);
        let longest = stats.threads.iter().map(|thread| thread.longest_slice).max();
        let highest = stats.slices.equivalent(stats.slices.max(), longest.unwrap());
        prop_assert!(dispatches == 0 || highest);
    }
}

#[test]
fn table_shows_the_numbers() {
    let mut trace = trace(&[
        (0, 1, Spawned),
        (0, 2, Spawned),
        (0, 0, RunStarted),
        (0, 1, slice(2_500_000)),
        (2_500_000, 1, Preempted),
        (2_500_000, 2, slice(2_500_000)),
        (3_000_000, 2, Parked),
        (3_000_000, 1, slice(2_500_000)),
        (4_000_000, 1, Returned),
        (4_000_000, 0, RunEnded),
    ]);
    trace.names = vec![(id(1), "a\nb".to_string())];
    let stats = Stats::of(&trace);
    assert_eq!(stats.in_runs, 4_000_000);
    assert_eq!(
        stats.to_string(),
        "\
thread           cpu       waiting        parked    slices  preemptions  longest wait  exit        name
     1        3.5 ms        500 us          0 ns         2            1        500 us  returned    a\\nb
     2        500 us        2.5 ms          1 ms         1            0        2.5 ms  -           -
latency: p50 500 us, p90 2.5 ms, p99 2.5 ms, p100 2.5 ms, of 3
slices: p50 1 ms, p90 2.5 ms, p99 2.5 ms, p100 2.5 ms, of 3
fairness: 0.640
"
    );
}

#[test]
fn time_between_runs_is_no_waiting() {
    let stats = Stats::of(&trace(&[
        (0, 1, Spawned),
        (100, 0, RunStarted),
        (110, 0, RunEnded),
        (300, 0, RunStarted),
        (305, 1, slice(9)),
        (310, 1, Returned),
    ]));
    assert_eq!((stats.threads[0].waiting, stats.latency.max()), (15, 15));
}
