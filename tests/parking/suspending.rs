//! A thread may be suspended while it waits: it is woken when it is resumed.

use super::Guests;
use crate::support::*;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    threads_that_are_suspended_while_they_sleep_keep_no_run_from_ending,
    a_thread_that_is_woken_while_suspended_goes_on_when_it_is_resumed,
);

fn threads_that_are_suspended_while_they_sleep_keep_no_run_from_ending(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(3_600_000)]);
    let passer = guests.spawn("pass", &[]);
    let joiner = guests.spawn("join", &[Val::I64(sleeper.as_u64() as i64)]);
    run_until_parked(&mut guests.store, &[sleeper, passer, joiner]);
    for id in [sleeper, passer] {
        id.suspend(&mut guests.store).unwrap();
        assert_eq!(guests.state(id), ThreadState::Suspended);
    }
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllSuspended, "{source}");
    assert_eq!(guests.state(joiner), ThreadState::Parked);
    passer.resume(&mut guests.store).unwrap();
    assert_eq!(guests.state(passer), ThreadState::Parked);
    assert_eq!(guests.run(ms(10)).end, RunEnd::TimeUp, "{source}");
}

fn a_thread_that_is_woken_while_suspended_goes_on_when_it_is_resumed(source: Preemption) {
    let mut guests = Guests::new(source);
    let ids = [(); 2].map(|()| guests.spawn("pass", &[]));
    run_until_parked(&mut guests.store, &ids);
    for id in ids {
        id.suspend(&mut guests.store).unwrap();
    }
    // One is resumed before it is woken, and one after that.
    ids[0].resume(&mut guests.store).unwrap();
    guests.store.data().gate.open();
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllSuspended, "{source}");
    assert_eq!(guests.state(ids[0]), ThreadState::Finished);
    ids[1].resume(&mut guests.store).unwrap();
    assert_eq!(guests.state(ids[1]), ThreadState::Ready);
    assert_eq!(guests.run(HANG).end, RunEnd::AllFinished, "{source}");
}
