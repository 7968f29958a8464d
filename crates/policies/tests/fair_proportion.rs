//! What two threads get while both are runnable is in proportion to their
//! weights, whatever happens around them.

use crate::sim::{Chance, End, Machine, State, id, params, weighing};
use preempt_policies::WeightedFair;
use proptest::prelude::*;

const REQUEST: u64 = 100;
const MOST: u64 = 2 * REQUEST;

/// The range of `got_a / a - got_b / b`, times both weights.
struct Spread {
    a: (u64, i128),
    b: (u64, i128),
    least: i128,
    most: i128,
}

impl Spread {
    fn new(a: (u64, u32), b: (u64, u32)) -> Self {
        Spread {
            a: (a.0, a.1.into()),
            b: (b.0, b.1.into()),
            least: i128::MAX,
            most: i128::MIN,
        }
    }

    /// The difference between any two moments so far is within the bound.
    fn check(&mut self, machine: &Machine<WeightedFair>) {
        let got = |(number, _)| i128::from(machine.got(number));
        let difference = got(self.a) * self.b.1 - got(self.b) * self.a.1;
        self.least = self.least.min(difference);
        self.most = self.most.max(difference);
        let bound = i128::from(REQUEST + MOST + 1) * (self.a.1 + self.b.1);
        assert!(self.most - self.least <= bound, "{:?} {:?}", self.a, self.b);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn of_weights_amid_arrivals_sleeps_kills_and_overruns(
        a in 1..20_u32, b in prop_oneof![1..20_u32, 1..=u32::MAX], seed: u64, group in 0..2_u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(WeightedFair::new(REQUEST)));
        let in_group = |weight| params(|params| {
            params.weight = weight;
            params.group = group;
        });
        machine.spawn(1, &in_group(a));
        machine.spawn(2, &in_group(b));
        let mut spread = Spread::new((1, a), (2, b));
        let mut spawned = 2;
        for _ in 0..3000 {
            spread.check(&machine);
            if chance.one_in(10) && machine.threads.len() < 30 {
                spawned += 1;
                let weight = chance.up_to(30).try_into().unwrap();
                let other = chance.up_to(3) - 1;
                machine.spawn(spawned, &params(|params| {
                    params.weight = weight;
                    params.group = other;
                }));
            }
            // One of the others, in whatever state.
            let other = id(2 + chance.up_to(spawned));
            match chance.up_to(12) {
                1 => machine.end(other, 0, End::Finished),
                2 if machine.threads.get(&other).is_some_and(|at| at.state == State::Ready) => {
                    machine.end(other, 0, End::Parked);
                }
                3 => {
                    let weight = chance.up_to(1000).try_into().unwrap();
                    if let Some(at) = machine.threads.get(&other) {
                        let mut params = at.params.clone();
                        params.weight = weight;
                        params.group = chance.up_to(3) - 1;
                        machine.change(other, &params);
                    }
                }
                4 => machine.policy.set_group_weight(2, chance.up_to(9).try_into().unwrap()),
                _ => machine.wake(other),
            }
            machine.dispatch(|pick| {
                let used = chance.up_to(MOST);
                let end = match chance.up_to(8) {
                    _ if pick.thread <= id(2) => End::Preempted,
                    1 => End::Finished,
                    2 | 3 => End::Parked,
                    4 => End::Yielded,
                    _ => End::Preempted,
                };
                (used, end)
            });
        }
    }

    #[test]
    fn of_new_weights_from_when_they_are_set(
        weights in prop::collection::vec(1..100_u32, 2..10), seed: u64,
    ) {
        let mut chance = Chance::new(seed);
        let mut machine = Machine::new(Box::new(WeightedFair::new(REQUEST)));
        for number in (1..).take(weights.len()) {
            machine.spawn(number, &weighing(1));
        }
        for _ in 0..100 {
            machine.dispatch(|_| (chance.up_to(MOST), End::Preempted));
        }
        for (number, &weight) in (1..).zip(&weights) {
            machine.change(id(number), &weighing(weight));
        }
        let mut spread = Spread::new((1, weights[0]), (2, weights[1]));
        for _ in 0..1000 {
            spread.check(&machine);
            machine.dispatch(|_| (chance.up_to(MOST), End::Preempted));
        }
    }
}
