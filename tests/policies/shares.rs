//! Threads and groups get shares by their weights.

use crate::support::*;
use preempt_policies::WeightedFair;
use preempt_trace::stats::jain;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

/// Spinners under weighted fairness with a request of `REQUEST` units of fuel.
struct Spinners {
    store: Store<()>,
    ids: Vec<ThreadId>,
}

const REQUEST: u64 = 1_000;

impl Spinners {
    /// By the weight and the group of each.
    fn new(spinners: &[(u32, u64)]) -> Spinners {
        let (mut store, module) = guests(Preemption::Fuel);
        store
            .wasm_threads()
            .set_scheduler(WeightedFair::new(REQUEST))
            .unwrap();
        let spawn = |(weight, group): &(u32, u64)| {
            let options = ThreadOptions::new().weight(*weight).group(*group);
            spawn_with(&mut store, &module, "spin", &[], options)
        };
        let ids = spinners.iter().map(spawn).collect();
        Spinners { store, ids }
    }

    /// Runs for a while, and checks that each gets its share, in parts of all, to
    /// within a few requests.
    fn assert_shares(&mut self, shares: &[f64]) {
        let used = |spinners: &Spinners| -> Vec<u64> {
            let ids = spinners.ids.iter();
            ids.map(|id| stats(&spinners.store, *id).fuel_consumed)
                .collect()
        };
        let before = used(self);
        let run = self.store.run_wasm_threads_for(ms(30)).unwrap();
        assert_eq!(run.end, RunEnd::TimeUp);
        let after = used(self);
        let got: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let all: u64 = got.iter().sum();
        assert!(all > 50 * REQUEST, "{run:?}");
        for (got, share) in got.iter().zip(shares) {
            let due = all as f64 * share;
            let off = (*got as f64 - due).abs();
            assert!(off < 5.0 * REQUEST as f64, "{got} and not {due} of {all}");
        }
    }
}

#[test]
fn fuel_is_shared_by_weight() {
    let mut spinners = Spinners::new(&[(1, 0), (2, 0), (5, 0)]);
    spinners.assert_shares(&[0.125, 0.25, 0.625]);
    spinners.assert_shares(&[0.125, 0.25, 0.625]);

    // From now on the first has as much as the others together.
    let mut params = ThreadParams::default();
    params.weight = 7;
    let id = spinners.ids[0];
    id.set_params(&mut spinners.store, params).unwrap();
    spinners.assert_shares(&[0.5, 1.0 / 7.0, 2.5 / 7.0]);

    // What a suspended one does not use is the others'.
    id.suspend(&mut spinners.store).unwrap();
    spinners.assert_shares(&[0.0, 2.0 / 7.0, 5.0 / 7.0]);
    id.resume(&mut spinners.store).unwrap();
    spinners.assert_shares(&[0.5, 1.0 / 7.0, 2.5 / 7.0]);
}

#[test]
fn fuel_is_shared_by_group_and_then_by_weight() {
    // A crowd, a couple, and one that stands for itself.
    let mut spinners = Spinners::new(&[(1, 1), (1, 1), (2, 1), (4, 1), (1, 2), (3, 2), (1, 0)]);
    let third = 1.0 / 3.0;
    let crowd = [0.125, 0.125, 0.25, 0.5];
    let [a, b, c, d] = crowd.map(|part| part * third);
    spinners.assert_shares(&[a, b, c, d, 0.25 * third, 0.75 * third, third]);

    let policy = spinners
        .store
        .wasm_threads()
        .scheduler_mut::<WeightedFair>();
    policy.unwrap().set_group_weight(1, 3);
    let [a, b, c, d] = crowd.map(|part| part * 0.6);
    spinners.assert_shares(&[a, b, c, d, 0.05, 0.15, 0.2]);

    // A group whose threads are gone leaves its share to the others.
    for id in [4, 5].map(|n: usize| spinners.ids[n]) {
        id.suspend(&mut spinners.store).unwrap();
    }
    let [a, b, c, d] = crowd.map(|part| part * 0.75);
    spinners.assert_shares(&[a, b, c, d, 0.0, 0.0, 0.25]);
}

/// What spinners of these weights get of the CPU under `Signal` with slices of 1 ms,
/// in parts of one.
fn shares_of_time(weights: &[u32], time: Duration) -> Vec<f64> {
    let (mut store, module) = guests(Preemption::Signal);
    store.wasm_threads().set_slice(Slice::Time(ms(1))).unwrap();
    store
        .wasm_threads()
        .set_scheduler(WeightedFair::new(1_000_000))
        .unwrap();
    let spawn = |weight: &u32| {
        let options = ThreadOptions::new().weight(*weight);
        spawn_with(&mut store, &module, "spin", &[], options)
    };
    let ids: Vec<_> = weights.iter().map(spawn).collect();
    assert_eq!(
        store.run_wasm_threads_for(time).unwrap().end,
        RunEnd::TimeUp
    );
    let got = ids
        .iter()
        .map(|id| stats(&store, *id).cpu_time.as_secs_f64());
    let got: Vec<f64> = got.collect();
    let all: f64 = got.iter().sum();
    got.iter().map(|got| got / all).collect()
}

/// How far shares are from what weights entitle to.
struct Unfairness {
    /// The greatest difference, in parts of all.
    off: f64,
    /// The greatest difference, in parts of what that one is entitled to.
    relative: f64,
    jain: f64,
}

impl Unfairness {
    fn of(shares: &[f64], weights: &[u32]) -> Unfairness {
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let entitled = weights.iter().map(|weight| f64::from(*weight) / all);
        let pairs = || shares.iter().zip(entitled.clone());
        let most = |differences: &mut dyn Iterator<Item = f64>| differences.fold(0.0, f64::max);
        Unfairness {
            off: most(&mut pairs().map(|(got, due)| (got - due).abs())),
            relative: most(&mut pairs().map(|(got, due)| (got / due - 1.0).abs())),
            jain: jain(pairs().map(|(got, due)| got / due)).unwrap(),
        }
    }
}

#[test]
fn time_is_shared_by_weight() {
    if Preemption::for_this_host() != Preemption::Signal {
        return;
    }
    let weights = [1, 2, 5];
    // When something else gets the CPU, its time counts for the thread that was
    // interrupted. By that shares are off near the end of a run, and the less so, the
    // longer it is.
    let mut time = ms(200);
    loop {
        let shares = shares_of_time(&weights, time);
        if Unfairness::of(&shares, &weights).off <= 0.05 {
            return;
        }
        time *= 2;
        assert!(time < HANG / 2, "{shares:?}");
    }
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn in_a_second_shares_of_time_are_within_one_percent() {
    if Preemption::for_this_host() != Preemption::Signal {
        return;
    }
    let many: Vec<u32> = (1..=16).collect();
    for weights in [
        &[1, 1][..],
        &[1, 2, 5],
        &[3, 1, 4, 1, 5, 9, 2, 6],
        &[1, 100],
        &many,
    ] {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let shares = shares_of_time(weights, Duration::from_secs(1));
            let Unfairness {
                off,
                relative,
                jain,
            } = Unfairness::of(&shares, weights);
            println!(
                "weights {weights:?}: off by {:.3} % of all and {:.2} % of the own share at \
                 most, Jain's index {jain:.6}",
                100.0 * off,
                100.0 * relative,
            );
            best = best.min(off);
            if best <= 0.01 {
                break;
            }
        }
        assert!(best <= 0.01, "{weights:?}: {best}");
    }
}
