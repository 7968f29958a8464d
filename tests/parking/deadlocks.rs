//! A run says which threads nobody will wake, and for what they wait.

use super::Guests;
use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    threads_that_wait_for_each_other_are_reported,
    a_thread_whose_wakers_are_all_gone_is_reported,
);

fn threads_that_wait_for_each_other_are_reported(source: Preemption) {
    let mut guests = Guests::new(source);
    // The first waits for the second, and that for the first.
    let first = guests.spawn("join", &[Val::I64(2)]);
    let second = guests.spawn("join", &[Val::I64(1)]);
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::Deadlock, "{source}");
    let expected = [
        (first, WaitFor::Thread(second)),
        (second, WaitFor::Thread(first)),
    ];
    assert_eq!(run.deadlocked, expected);
    // Nothing is lost: one of them can be ended.
    first.kill(&mut guests.store).unwrap();
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::AllFinished);
}

fn a_thread_whose_wakers_are_all_gone_is_reported(source: Preemption) {
    let mut guests = Guests::new(source);
    let id = guests.spawn("pass", &[]);
    assert_eq!(
        guests.run(ms(10)).end,
        RunEnd::TimeUp,
        "somebody has its waker"
    );
    guests.store.data().gate.0.lock().unwrap().1.clear();
    let run = guests.run(Duration::MAX);
    assert_eq!(run.end, RunEnd::Deadlock, "{source}");
    assert_eq!(run.deadlocked, [(id, WaitFor::Future)]);
}
