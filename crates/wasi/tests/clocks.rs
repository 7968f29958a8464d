//! Sleeping guest threads sleep at the same time.

use crate::support::*;
use std::time::{Instant, SystemTime};
use wasmtime::preempt::{ThreadState, VirtualClock, WaitFor};
use wasmtime::{Exit, Preemption, RunEnd};
use wasmtime_wasi::{Deterministic, WasiCtxBuilder};

#[test]
fn sleeping_threads_overlap() {
    for kind in kinds() {
        let mut guests = Guests::new(kind, &[Subscription::After(MONOTONIC, ms(300))]);
        let threads: Vec<_> = (0..20).map(|_| guests.spawn_poll(1)).collect();
        let started = Instant::now();
        guests.finish();
        let took = started.elapsed();
        // One after the other they take longer on any machine.
        assert!(took >= ms(300) && took < 20 * ms(300), "{kind:?}: {took:?}");
        for (instance, id) in threads {
            assert_eq!(guests.returned(id), 0);
            assert_eq!(guests.events(instance), [(1, 0, 0)]);
        }
    }
}

#[test]
fn earliest_of_many_clocks_ends_the_wait() {
    for kind in kinds() {
        let subscriptions = [
            Subscription::Nanoseconds(MONOTONIC, u64::MAX),
            Subscription::After(REALTIME, ms(30)),
            Subscription::At(MONOTONIC, u64::MAX),
            Subscription::At(REALTIME, u64::MAX),
        ];
        let mut guests = Guests::new(kind, &subscriptions);
        let (instance, id) = guests.spawn_poll(subscriptions.len());
        let started = Instant::now();
        guests.finish();
        assert!(started.elapsed() >= ms(30));
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(instance), [(0, 0, 0)]);
    }
}

#[test]
fn times_that_are_past_are_ready_at_once_and_all_of_them() {
    for kind in kinds() {
        let subscriptions = [
            Subscription::After(MONOTONIC, ms(0)),
            Subscription::At(MONOTONIC, 0),
            Subscription::At(REALTIME, 0),
            Subscription::At(REALTIME, 1_000_000_000),
            Subscription::After(REALTIME, ms(10_000)),
        ];
        let mut guests = Guests::new(kind, &subscriptions);
        let (instance, id) = guests.spawn_poll(subscriptions.len());
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        assert_eq!(guests.events(instance).len(), 4);
    }
}

#[test]
fn absolute_time_is_waited_for() {
    for kind in kinds() {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let at = Subscription::At(REALTIME, (now + ms(150)).as_nanos() as u64);
        let mut guests = Guests::new(kind, &[at]);
        let (_, id) = guests.spawn_poll(1);
        guests.finish();
        assert_eq!(guests.returned(id), 0);
        let then = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(then >= now + ms(149), "{:?}", then - now);
    }
}

#[test]
fn end_of_time_never_comes_and_can_be_killed() {
    for kind in kinds() {
        let mut guests = Guests::new(kind, &[Subscription::Nanoseconds(MONOTONIC, u64::MAX)]);
        let (_, id) = guests.spawn_poll(1);
        assert_eq!(guests.run(ms(20)), RunEnd::TimeUp);
        let thread = id.info(&guests.store).unwrap();
        assert_eq!(thread.state, ThreadState::Parked);
        assert!(matches!(thread.waits_for, Some(WaitFor::Time(_))));
        id.kill(&mut guests.store).unwrap();
        let exit = id.take_exit(&mut guests.store);
        assert!(matches!(exit, Some(Exit::Killed)));
    }
}

#[test]
fn spinning_sibling_runs_while_one_sleeps() {
    for kind in kinds() {
        let mut guests = Guests::new(kind, &[Subscription::After(MONOTONIC, ms(50))]);
        let (_, id) = guests.spawn_poll(1);
        let spinning = guests.instance();
        guests.spawn(spinning, "spin", &[]);
        guests.run_until(|guests| guests.finished(id) && guests.turns(spinning) > 1000);
        assert_eq!(guests.returned(id), 0);
    }
}

#[test]
fn the_embedders_clock_and_random_numbers_are_what_guests_see() {
    const HOUR: u64 = 3_600_000;
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $now (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get"
            (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func $read (param i32) (result i64)
            (drop (call $now (local.get 0) (i64.const 1) (i32.const 200)))
            (i64.load (i32.const 200)))
        (func (export "run") (result i64 i64 i64)
            (i64.store (i32.const 24) (i64.const 3600000000000))
            (i32.store (i32.const 16) (i32.const 1))
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
            (drop (call $random (i32.const 208) (i32.const 4)))
            (call $read (i32.const 0))
            (call $read (i32.const 1))
            (i64.load32_u (i32.const 208))))"#;
    let shown = VirtualClock::new();
    let clock = preempt_wasi::Clock::new(shown.clone()).wall_clock_start(ms(5_000));
    let mut wasi = WasiCtxBuilder::new();
    wasi.monotonic_clock(clock.clone())
        .wall_clock(clock)
        .secure_random(Deterministic::new(vec![7]));
    let (mut store, linker, module) = linked(Preemption::Fuel, wat, &mut wasi);
    store.wasm_threads().set_virtual_clock(shown).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let id = store.spawn_wasm_thread(run, &[]).unwrap();
    let started = Instant::now();
    store.run_wasm_threads_for(ms(HOUR)).unwrap();
    assert!(started.elapsed() < ms(HOUR));
    let Some(Exit::Returned(values)) = id.take_exit(&mut store) else {
        panic!("it has not returned");
    };
    let [wall, monotonic, random] = [0, 1, 2].map(|i: usize| values[i].unwrap_i64() as u64);
    // And the few units of fuel that it has used.
    let hour = HOUR * 1_000_000;
    assert!((hour..hour + 1_000).contains(&monotonic), "{monotonic}");
    let start = hour + 5_000_000_000;
    assert!((start..start + 1_000).contains(&wall), "{wall}");
    assert_eq!(random, 0x0707_0707);
}
