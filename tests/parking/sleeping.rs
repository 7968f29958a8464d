//! Threads that sleep do so at the same time, cost no CPU, and are woken in time.

use super::Guests;
use crate::support::*;
use std::time::{Duration, Instant};
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    sleepers_sleep_at_the_same_time_and_cost_no_cpu,
    a_sleeper_is_woken_beside_one_that_never_yields,
    a_run_ends_in_time_while_all_sleep_and_the_next_goes_on,
    a_run_that_sleeps_is_woken_by_requests_and_limits,
);

fn sleepers_sleep_at_the_same_time_and_cost_no_cpu(source: Preemption) {
    let mut guests = Guests::new(source);
    let ids: Vec<ThreadId> = (0..50)
        .map(|_| guests.spawn("sleep", &[Val::I32(500)]))
        .collect();
    let run = guests.run(Duration::MAX);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.elapsed >= ms(500), "{source}: {:?}", run.elapsed);
    // One after the other they take longer on any machine.
    assert!(run.elapsed < 50 * ms(500), "{source}: {:?}", run.elapsed);
    // Once until it sleeps, and once after that, or a few times more.
    assert!(run.dispatches <= 120, "{source}: {}", run.dispatches);
    for id in ids {
        let exit = id.take_exit(&mut guests.store);
        assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
    }
}

fn a_sleeper_is_woken_beside_one_that_never_yields(source: Preemption) {
    let mut guests = Guests::new(source);
    let spin = guests.spawn("spin", &[]);
    let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
    run_until(&mut guests.store, |store| finished(store, sleeper));
    assert_eq!(guests.state(spin), ThreadState::Ready, "{source}");
}

fn a_run_ends_in_time_while_all_sleep_and_the_next_goes_on(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(2_000)]);
    let before = Instant::now();
    let run = guests.run(ms(20));
    let after = Instant::now();
    assert_eq!(run.end, RunEnd::TimeUp, "{source}");
    assert!(run.elapsed >= ms(20), "{:?}", run.elapsed);
    let info = sleeper.info(&guests.store).unwrap();
    assert_eq!(info.state, ThreadState::Parked);
    let Some(WaitFor::Time(until)) = info.waits_for else {
        panic!("{info:?}");
    };
    assert!(until >= before + ms(2_000) && until < after + ms(2_000));
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}

fn a_run_that_sleeps_is_woken_by_requests_and_limits(source: Preemption) {
    let mut guests = Guests::new(source);
    let killed = guests.spawn("sleep", &[Val::I32(3_600_000)]);
    let limited = guests.spawn("pass", &[]);
    let limits = ThreadLimits::new().wall_time(ms(60));
    limited.set_limits(&mut guests.store, limits).unwrap();
    let handle = killed.remote(&mut guests.store).unwrap();
    let killer = kill_later(handle);
    let run = guests.run(HANG);
    killer.join().unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.elapsed >= ms(60));
    assert!(run.dispatches <= 4, "{source}: {}", run.dispatches);
    let exit = killed.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::Killed)), "{exit:?}");
    let exit = limited.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::OverLimit(_))), "{exit:?}");
    // Who had its waker may wake it all the same.
    guests.store.data().gate.open();
}

#[test]
fn a_plain_asynchronous_call_waits_and_a_synchronous_one_fails() {
    let mut guests = Guests::new(Preemption::Epoch);
    let instance = guests
        .linker
        .instantiate(&mut guests.store, &guests.module)
        .unwrap();
    let sleep = instance
        .get_typed_func::<u32, ()>(&mut guests.store, "sleep")
        .unwrap();
    let error = sleep.call(&mut guests.store, 10).unwrap_err();
    let error = error.root_cause().to_string();
    assert!(
        error.contains("spawn a guest thread, or use `call_async`"),
        "{error}"
    );

    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(sleep.call_async(&mut guests.store, 30))
        .unwrap();
    assert!(start.elapsed() >= ms(30));
}
