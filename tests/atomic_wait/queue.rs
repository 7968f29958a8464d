//! Those that wait for an atomic stand in one queue, in the order in which they came.

use super::{Guests, OK};
use crate::support::*;
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    as_many_are_woken_as_were_notified_first_those_that_came_first,
    one_that_is_ended_while_it_waits_leaves_the_queue,
    one_that_is_suspended_takes_its_notification_when_it_is_resumed,
    guest_threads_and_os_threads_stand_in_one_queue,
    ten_thousand_wait_are_killed_and_notified_in_no_time,
);

fn as_many_are_woken_as_were_notified_first_those_that_came_first(source: Preemption) {
    let mut guests = Guests::new(source);
    let memory = guests.memory.clone();
    guests.store.wasm_threads().own_memory(&memory).unwrap();
    let ids: Vec<ThreadId> = (0..6).map(|_| guests.wait(8)).collect();
    let elsewhere = guests.wait(16);
    guests.store.wasm_threads().set_trace(1_000).unwrap();
    assert_eq!(guests.run(Duration::MAX).end, RunEnd::Deadlock, "{source}");
    for (count, woken) in [(0, 0), (1, 1), (2, 2), (-1, 3), (1, 0)] {
        let notifier = guests.spawn("notify", &[Val::I32(8), Val::I32(count)]);
        assert_eq!(guests.run(Duration::MAX).end, RunEnd::Deadlock, "{source}");
        assert_eq!(guests.returned(notifier), woken, "{source}, {count}");
    }
    let trace = guests.store.wasm_threads().take_trace().unwrap();
    let returned = trace
        .events
        .iter()
        .filter(|event| event.what == Traced::Returned && ids.contains(&event.thread));
    let order: Vec<ThreadId> = returned.map(|event| event.thread).collect();
    assert_eq!(order, ids, "{source}");
    assert_eq!(
        elsewhere.info(&guests.store).unwrap().waits_for,
        Some(WaitFor::Atomic(16))
    );
}

fn one_that_is_ended_while_it_waits_leaves_the_queue(source: Preemption) {
    let mut guests = Guests::new(source);
    let memory = guests.memory.clone();
    let ids: Vec<ThreadId> = (0..5).map(|_| guests.wait(0)).collect();
    run_until_parked(&mut guests.store, &ids);
    // First, last, and in the middle.
    for i in [0, 4, 2] {
        ids[i].kill(&mut guests.store).unwrap();
    }
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
    run_until(&mut guests.store, |store| finished(store, ids[1]));
    assert_eq!(guests.returned(ids[1]), OK, "{source}");
    assert_eq!(guests.store.shutdown_wasm_threads(), 1);
    assert_eq!(memory.atomic_notify(0, 9).unwrap(), 0, "{source}");

    let last = guests.wait(0);
    run_until_parked(&mut guests.store, &[last]);
    drop(guests);
    assert_eq!(memory.atomic_notify(0, 9).unwrap(), 0, "{source}");
}

fn one_that_is_suspended_takes_its_notification_when_it_is_resumed(source: Preemption) {
    let mut guests = Guests::new(source);
    let memory = guests.memory.clone();
    guests.store.wasm_threads().own_memory(&memory).unwrap();
    let id = guests.wait(0);
    assert_eq!(guests.run(HANG).end, RunEnd::Deadlock, "{source}");
    id.suspend(&mut guests.store).unwrap();
    assert_eq!(guests.run(HANG).end, RunEnd::AllSuspended, "{source}");
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
    assert_eq!(guests.run(HANG).end, RunEnd::AllSuspended, "{source}");
    id.resume(&mut guests.store).unwrap();
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
    assert_eq!(guests.returned(id), OK, "{source}");
}

fn guest_threads_and_os_threads_stand_in_one_queue(source: Preemption) {
    let mut guests = Guests::new(source);
    let memory = guests.memory.clone();
    let first = guests.wait(0);
    run_until_parked(&mut guests.store, &[first]);
    let waits = memory.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let os_thread = thread::spawn(move || {
        sender.send(tid()).unwrap();
        waits.atomic_wait32(0, 0, None).unwrap()
    });
    until_asleep(receiver.recv().unwrap());
    let last = guests.wait(0);
    run_until_parked(&mut guests.store, &[last]);

    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
    run_until(&mut guests.store, |store| finished(store, first));
    assert_eq!(guests.returned(first), OK, "{source}");
    assert!(!os_thread.is_finished());
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
    assert_eq!(os_thread.join().unwrap(), WaitResult::Ok, "{source}");
    let waits_for = last.info(&guests.store).unwrap().waits_for;
    assert_eq!(waits_for, Some(WaitFor::Atomic(0)));
    assert_eq!(memory.atomic_notify(0, 9).unwrap(), 1);
    assert_eq!(
        guests.run(Duration::MAX).end,
        RunEnd::AllFinished,
        "{source}"
    );
    assert_eq!(guests.returned(last), OK, "{source}");
}

fn ten_thousand_wait_are_killed_and_notified_in_no_time(source: Preemption) {
    let mut guests = Guests::new(source);
    let instance = guests
        .linker
        .instantiate(&mut guests.store, &guests.module)
        .unwrap();
    let wait = instance
        .get_typed_func::<(i32, i32, i64), i32>(&mut guests.store, "wait32")
        .unwrap();
    let mut ids = Vec::new();
    for i in 0..6_000 {
        let params = (8 * (i % 100), 0, -1);
        let id = ThreadOptions::new()
            .spawn_typed(&mut guests.store, &wait, params)
            .unwrap();
        ids.push(id.id());
    }
    while guests
        .store
        .wasm_threads()
        .iter()
        .any(|t| t.state != ThreadState::Parked)
    {
        guests.run(ms(100));
    }
    let handles = ids[..3_000]
        .iter()
        .map(|id| id.remote(&mut guests.store).unwrap());
    handles
        .collect::<Vec<_>>()
        .iter()
        .for_each(RemoteThread::kill);
    let mut notified = 0;
    let run = guests.run(ms(1));
    assert!(run.finished == 3_000, "{source}: {}", run.finished);
    for i in 0..100 {
        notified += guests.memory.atomic_notify(8 * i, u32::MAX).unwrap();
    }
    assert_eq!(notified, 3_000);
    let run = guests.run(Duration::MAX);
    assert_eq!((run.end, run.finished), (RunEnd::AllFinished, 3_000));
}
