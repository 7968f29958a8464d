//! Many events and many threads.

use crate::perfetto::{read, threads};
use crate::support::*;
use preempt_trace::check::{Checker, Order};
use preempt_trace::perfetto;
use preempt_trace::stats::Stats;
use preempt_trace::text::{Text, parse};
use preempt_trace::timeline::Timeline;
use roxmltree::Document;
use std::io;
use wasmtime::preempt::Trace;
use wasmtime::preempt::Traced::*;

/// So many threads take so many turns.
fn turns(threads: u64, turns: u64) -> Trace {
    let mut events: Vec<_> = (1..=threads).map(|thread| (0, thread, Spawned)).collect();
    events.push((0, 0, RunStarted));
    let mut now = 0;
    for turn in 0..turns {
        let thread = turn % threads + 1;
        events.push((now, thread, slice(10)));
        // Not all alike, so that the picture's columns are not.
        now += 1 + turn * turn % 10;
        events.push((now, thread, Preempted));
    }
    events.push((now, 0, RunEnded));
    trace(&events)
}

#[test]
fn million_events_make_a_small_picture() {
    let trace = turns(64, 500_000);
    assert!(trace.events.len() > 1_000_000);
    let svg = Timeline::new().svg(&trace);
    assert!(svg.len() < 1_000_000, "{}", svg.len());
    assert!(Document::parse(&svg).is_ok());
    let report = Checker::new().order(Order::RoundRobin).check(&trace);
    assert!(report.is_ok());
}

#[test]
fn json_of_a_million_events_is_written_as_it_comes() {
    /// Counts what it is given, and how much at once.
    #[derive(Default)]
    struct Sink {
        bytes: usize,
        most: usize,
    }
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes += bytes.len();
            self.most = self.most.max(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink::default();
    perfetto::write(&turns(64, 500_000), &mut sink).unwrap();
    assert!(sink.bytes > 100_000_000, "{}", sink.bytes);
    assert!(sink.most < 100, "{}", sink.most);
}

#[test]
fn worst_picture_is_small() {
    // Each of 64 threads changes what it does in every pixel.
    let mut events: Vec<_> = (1..=64).map(|thread| (0, thread, Spawned)).collect();
    events.push((0, 0, RunStarted));
    for column in 0..960 {
        for thread in 1..=64 {
            let at = column * 64_000 + thread * 100;
            match (column + thread) % 4 {
                0 => events.extend([(at, thread, slice(100)), (at + 90, thread, Preempted)]),
                1 => events.push((at, thread, Parked)),
                2 => events.push((at, thread, Woken)),
                _ => {}
            }
        }
    }
    let svg = Timeline::new().svg(&trace(&events));
    assert!(svg.len() < 1_000_000, "{}", svg.len());
}

#[test]
fn hundred_thousand_threads_are_no_problem() {
    let trace = turns(100_000, 100_000);
    let svg = Timeline::new().svg(&trace);
    assert!(svg.contains("99936 more threads left out"));
    assert!(svg.len() < 1_000_000, "{}", svg.len());
    assert_eq!(threads(&read(&trace)), 100_000);
    assert_eq!(Stats::of(&trace).threads.len(), 100_000);
    let report = Checker::new().order(Order::RoundRobin).check(&trace);
    assert!(report.is_ok());
    assert_eq!(report.threads, 100_000);
    let back = parse(&Text(&trace).to_string()).unwrap();
    assert_eq!(back.events, trace.events);
}
