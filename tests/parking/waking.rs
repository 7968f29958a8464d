//! No wake is lost, from wherever it comes, and one that is for nothing does no harm.

use super::{Callers, Guests};
use crate::support::*;
use std::future;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_thread_is_woken_from_another_os_thread,
    a_wake_interrupts_a_sibling_that_has_the_cpu_to_itself,
    yielding_lets_the_others_go_first,
    a_wake_within_a_poll_is_not_lost_by_what_a_nested_guest_does,
    wakers_outlive_the_thread_and_the_store,
);

fn a_thread_is_woken_from_another_os_thread(source: Preemption) {
    let mut guests = Guests::new(source);
    let gate = guests.store.data().gate.clone();
    let ids = [(); 3].map(|()| guests.spawn("pass", &[]));
    let opener = thread::spawn(move || {
        spin_until(|| gate.waiting() >= 3);
        thread::sleep(ms(20));
        gate.open();
    });
    let run = guests.run(Duration::MAX);
    opener.join().unwrap();
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    let log = ids.map(|id| format!("{id} passed"));
    assert_eq!(
        guests.store.data().log,
        log,
        "in the order in which they were woken"
    );
}

fn a_wake_interrupts_a_sibling_that_has_the_cpu_to_itself(source: Preemption) {
    let mut guests = Guests::new(source);
    let gate = guests.store.data().gate.clone();
    guests.spawn("pass", &[]);
    guests.spawn("spin", &[]);
    let opener = thread::spawn(move || {
        spin_until(|| gate.waiting() >= 1);
        thread::sleep(ms(50));
        gate.open();
    });
    run_until(&mut guests.store, |store| store.data().log.len() == 1);
    opener.join().unwrap();
}

fn a_wake_within_a_poll_is_not_lost_by_what_a_nested_guest_does(source: Preemption) {
    let mut guests = Callers::new(source, None, |accessor, ()| {
        let mut polls = 0;
        Box::pin(future::poll_fn(move |cx| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            let nested = accessor.with(|mut caller| {
                let nested: Option<TypedFunc<(), ()>> = caller.data().clone();
                nested.unwrap().call(&mut caller, ())
            });
            nested.flatten().unwrap();
            Poll::Pending
        }))
    });
    let nested = guests
        .instance
        .get_typed_func(&mut guests.store, "notify_and_mismatch")
        .unwrap();
    *guests.store.data_mut() = Some(nested);
    guests.spawn("wait", &[Val::I64(-1)]);
    let caller = guests.spawn("run", &[]);
    let run = guests.run(HANG);
    assert_eq!(guests.state(caller), ThreadState::Finished, "{source}");
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
}

fn wakers_outlive_the_thread_and_the_store(source: Preemption) {
    let mut guests = Guests::new(source);
    let gate = guests.store.data().gate.clone();
    let killed = guests.spawn("pass", &[]);
    let other = guests.spawn("pass", &[]);
    run_until_parked(&mut guests.store, &[killed, other]);
    killed.kill(&mut guests.store).unwrap();
    drop(guests);
    assert_eq!(gate.waiting(), 2, "{source}");
    thread::spawn(move || gate.open()).join().unwrap();
}

fn yielding_lets_the_others_go_first(source: Preemption) {
    let mut guests = Guests::new(source);
    guests.spawn("yield", &[Val::I32(1_000)]);
    guests.spawn("yield", &[Val::I32(1_000)]);
    let run = guests.run(Duration::MAX);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    assert!(run.dispatches >= 2_000, "{}", run.dispatches);
}

#[test]
fn a_thread_that_wakes_itself_for_ever_takes_no_memory() {
    let name = "a_thread_that_wakes_itself_for_ever_takes_no_memory";
    in_own_process(module_path!(), name, || {
        let mut guests = Callers::new(Preemption::Epoch, (), |_, ()| {
            Box::pin(future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }))
        });
        guests.spawn("run_for_ever", &[]);
        guests.run(ms(10));
        let before = most_resident_kib();
        guests.run(ms(600));
        let grown = most_resident_kib() - before;
        assert!(grown < 2_000, "{grown} KiB");
    });
}
