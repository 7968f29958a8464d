//! Jain's index and weighted shares.

use crate::support::*;
use preempt_trace::stats::{Stats, jain};
use proptest::collection::vec;
use proptest::prelude::*;
use wasmtime::preempt::Trace;
use wasmtime::preempt::Traced::*;

/// Each thread runs once, for so long.
fn ran(times: &[u64]) -> Trace {
    let mut events = vec![(0, 0, RunStarted)];
    let mut now = 0;
    for (thread, time) in (1..).zip(times) {
        events.push((now, thread, Spawned));
        events.push((now, thread, slice(*time)));
        now += time;
        events.push((now, thread, Returned));
    }
    trace(&events)
}

fn close(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < 1e-9)
}

#[test]
fn index_is_one_for_equals_and_one_in_n_for_a_monopoly() {
    assert!(close(Stats::of(&ran(&[70, 70, 70])).fairness(), 1.0));
    assert!(close(Stats::of(&ran(&[70, 0, 0, 0])).fairness(), 0.25));
    assert!(close(jain([1.0, 2.0, 3.0]), 36.0 / 42.0));
}

#[test]
fn index_of_nothing_is_none() {
    assert_eq!(Stats::of(&ran(&[])).fairness(), None);
    assert_eq!(Stats::of(&ran(&[0, 0])).fairness(), None);
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(jain([1.0, bad]), None);
    }
    assert!(close(jain([f64::MAX, f64::MAX]), 1.0));
}

#[test]
fn weighted_index_is_one_where_each_got_its_due() {
    let stats = Stats::of(&ran(&[100, 200, 300]));
    let weighted = |weight: fn(u64) -> f64| stats.weighted_fairness(|id| weight(id.as_u64()));
    assert!(close(weighted(|id| id as f64), 1.0));
    assert!(close(weighted(|_| 7.0), 36.0 / 42.0));
    assert!(close(
        weighted(|id| if id == 3 { 0.0 } else { id as f64 }),
        1.0
    ));
    assert_eq!(weighted(|_| f64::NAN), None);
}

#[test]
fn shares_are_parts_of_one() {
    let stats = Stats::of(&ran(&[100, 300]));
    let shares = stats.shares(|id| {
        if id.as_u64() == 1 {
            f64::MAX
        } else {
            f64::MAX / 4.0
        }
    });
    let [one, two] = shares[..] else { panic!() };
    assert_eq!((one.thread, one.got, one.entitled), (id(1), 0.25, 0.8));
    assert_eq!((two.thread, two.got, two.entitled), (id(2), 0.75, 0.2));
    assert_eq!(stats.shares(|_| -1.0)[0].entitled, 0.0);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn index_is_between_one_in_n_and_one(shares in vec(0.0..1e300_f64, 1..50)) {
        let index = jain(shares.iter().copied());
        let least = 1.0 / shares.len() as f64;
        prop_assert!(index.is_none_or(|index| index >= least - 1e-9 && index <= 1.0 + 1e-9));
    }
}
