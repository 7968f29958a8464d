//! Nothing panics on a trace, whatever it holds, and the files stay readable.

use crate::perfetto::{ids, read, threads, tracks};
use crate::support::*;
use preempt_trace::check::{Checker, Order};
use preempt_trace::stats::Stats;
use preempt_trace::text::{Text, parse};
use preempt_trace::timeline::Timeline;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use wasmtime::preempt::Traced::*;
use wasmtime::preempt::{Trace, Traced};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20_u64, 1 => any::<u64>(), 1 => u64::MAX - 20..=u64::MAX]
}

fn thread() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..5_u64, 1 => any::<u64>()]
}

fn what() -> impl Strategy<Value = Traced> {
    let plain = prop::sample::select(vec![
        RunStarted, RunEnded, Spawned, Preempted, Yielded, Parked, Woken, Returned, Trapped,
        Killed, OverLimit,
    ]);
    prop_oneof![3 => plain, 1 => number().prop_map(slice)]
}

fn traces() -> impl Strategy<Value = Trace> {
    let events = vec((number(), thread(), what()), 0..60);
    let names = vec((thread(), any::<String>()), 0..6);
    (events, number(), any::<bool>(), any::<bool>(), names).prop_map(
        |(mut events, lost, fuel, sorted, names)| {
            if sorted {
                events.sort_by_key(|(at, ..)| *at);
            }
            Trace {
                lost,
                fuel,
                names: names
                    .into_iter()
                    .map(|(thread, name)| (id(thread), name))
                    .collect(),
                ..trace(&events)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..config() })]

    #[test]
    fn any_trace_is_checked(trace in traces(), tolerance in number(),
                            priorities in btree_map(thread().prop_map(id), any::<i64>(), 0..5)) {
        for order in [Order::RoundRobin, Order::Priorities(priorities)] {
            let checker = Checker::new().tolerance(tolerance).order(order).all_finished(true);
            let report = checker.check(&trace);
            let lines = report.to_string().lines().count();
            prop_assert_eq!(lines, 1 + report.violations.len());
        }
    }

    #[test]
    fn any_trace_is_measured(trace in traces()) {
        let stats = Stats::of(&trace);
        stats.to_string();
        prop_assert!(stats.fairness().is_none_or(|index| index <= 1.0 + 1e-9));
        prop_assert_eq!(stats.threads.len(), ids(&trace).len());
    }

    #[test]
    fn any_trace_is_json(trace in traces()) {
        let entries = read(&trace);
        prop_assert_eq!(threads(&entries), ids(&trace).len());
        let stats = Stats::of(&trace);
        let tracks = tracks(&entries);
        let slices = tracks.iter().filter(|((pid, _), _)| *pid == 1).map(|(_, slices)| slices.len() as u64);
        prop_assert_eq!(slices.sum::<u64>(), stats.slices.len());
    }

    #[test]
    fn any_trace_is_a_picture(trace in traces(), width: usize, rows in 0..6_usize) {
        let svg = Timeline::new().width(width).rows(rows).svg(&trace);
        prop_assert!(roxmltree::Document::parse(&svg).is_ok());
    }

    #[test]
    fn any_trace_is_text(trace in traces()) {
        let text = Text(&trace).to_string();
        let back = parse(&text).unwrap();
        prop_assert_eq!(&back.events, &trace.events);
        prop_assert_eq!(&back.names, &trace.names);
        prop_assert_eq!((back.lost, back.fuel), (trace.lost, trace.fuel));
    }
}
