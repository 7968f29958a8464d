//! A million threads, and every operation is still fast.
//!
//! `cargo test --release -p preempt-policies scale -- --nocapture` prints how
//! fast. Without optimization it is a tenth of the threads.

use crate::sim::{Chance, id, params, policies};
use std::time::{Duration, Instant};

const THREADS: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

/// What an operation may take on average. That is far more than it takes, so that
/// a slow machine passes and a search through all threads does not.
const ALLOWED: Duration = Duration::from_micros(100);

struct Timed {
    name: &'static str,
    count: u64,
    total: Duration,
    worst: Duration,
}

impl Timed {
    fn new(name: &'static str) -> Self {
        Timed {
            name,
            count: 0,
            total: Duration::ZERO,
            worst: Duration::ZERO,
        }
    }

    fn call<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = operation();
        let took = start.elapsed();
        self.count += 1;
        self.total += took;
        self.worst = self.worst.max(took);
        result
    }

    fn check(&self, policy: &str) {
        let mean = self.total / u32::try_from(self.count.max(1)).unwrap();
        let per_second = u128::from(self.count) * 1_000_000_000 / self.total.as_nanos().max(1);
        let (name, worst) = (self.name, self.worst);
        println!("{policy:16} {name:9} {per_second:>10}/s  mean {mean:>9.0?}  worst {worst:.0?}");
        assert!(mean < ALLOWED, "{policy}: {name} takes {mean:?}");
    }
}

#[test]
fn every_operation_is_fast_with_a_million_threads() {
    for (policy_name, mut policy) in policies() {
        let mut chance = Chance::new(1);
        let mut times = [
            "spawned",
            "next",
            "preempted",
            "yielded",
            "parked",
            "woken",
            "changed",
            "finished",
        ]
        .map(Timed::new);
        let [
            spawned,
            next,
            preempted,
            yielded,
            parked,
            woken,
            changed,
            finished,
        ] = &mut times;
        let any = |chance: &mut Chance| {
            params(|params| {
                params.weight = chance.up_to(100).try_into().unwrap();
                params.priority = chance.up_to(10).try_into().unwrap();
                params.group = (chance.up_to(1000) - 1) / 2;
                params.deadline = chance.one_in(2).then(|| chance.up_to(1 << 30));
            })
        };
        for number in 0..THREADS {
            let params = any(&mut chance);
            spawned.call(|| policy.spawned(number, id(number), &params));
        }
        let mut now = THREADS;
        for _ in 0..THREADS / 5 {
            let pick = next.call(|| policy.next(now)).unwrap();
            now += 10;
            match chance.up_to(8) {
                1 => yielded.call(|| policy.yielded(now, pick.thread, 10)),
                2 => parked.call(|| policy.parked(now, pick.thread, 10)),
                _ => preempted.call(|| policy.preempted(now, pick.thread, 10)),
            }
            let other = id(chance.up_to(THREADS) - 1);
            woken.call(|| policy.woken(now, other));
            let other = id(chance.up_to(THREADS) - 1);
            let params = any(&mut chance);
            changed.call(|| policy.changed(now, other, &params));
        }
        for number in 0..THREADS {
            finished.call(|| policy.finished(now, id(number), 0));
        }
        assert_eq!(policy.next(now), None);
        for time in times {
            time.check(policy_name);
        }
    }
}
