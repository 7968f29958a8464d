//! Many stores on many OS threads reach deadlines of all kinds at the same time.

use super::support::*;
use crate::support::must_end;
use std::thread;
use std::time::{Duration, Instant};
use wasmtime_preempt::wasmtime::Engine;
use wasmtime_preempt::wasmtime::preempt::{TimeDeadline, UpdateTimeDeadline};

fn soak(engine: &Engine, time: Duration) -> u64 {
    let start = Instant::now();
    let work = |seed: u64| {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut reached = 0;
        while start.elapsed() < time {
            let (mut store, instance) = guests(engine, 0_u64, |_, value| value);
            let spin = export::<(), ()>(&mut store, &instance, "spin");
            let sum = export::<i64, i64>(&mut store, &instance, "sum");
            let expected = sum.call(&mut store, 20_000).unwrap();
            for _ in 0..20 {
                let short = Duration::from_micros(next() % 500);
                let deadline = match next() % 2 {
                    0 => TimeDeadline::Wall(short),
                    _ => TimeDeadline::Cpu(short),
                };
                store.set_time_deadline(deadline).unwrap();
                if next() % 2 == 0 {
                    store.time_deadline_trap();
                    assert_reached(&spin.call(&mut store, ()).unwrap_err(), deadline);
                    reached += 1;
                } else {
                    store.time_deadline_callback(move |mut store| {
                        *store.data_mut() += 1;
                        Ok(UpdateTimeDeadline::Continue(deadline))
                    });
                    store.set_time_deadline(TimeDeadline::Wall(short)).unwrap();
                    assert_eq!(sum.call(&mut store, 20_000).unwrap(), expected);
                }
            }
            reached += *store.data();
        }
        reached
    };
    thread::scope(|scope| {
        let workers = (0..8).map(|seed| scope.spawn(move || work(seed)));
        let workers: Vec<_> = workers.collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    })
}

#[test]
fn all_are_reached() {
    must_end(|| {
        for engine in engines() {
            assert!(soak(&engine, Duration::from_millis(300)) > 10);
        }
    });
}

#[test]
#[ignore = "takes half a minute"]
fn all_are_reached_for_long() {
    for engine in engines() {
        let reached = soak(&engine, Duration::from_secs(15));
        println!("{reached} deadlines");
        assert!(reached > 1_000);
    }
}
