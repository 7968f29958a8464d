//! A join waits for the end of a thread, whichever way that comes.

use super::Guests;
use crate::support::*;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    join_waits_for_the_end_whichever_way_it_comes,
    one_that_waits_for_a_thread_with_a_wall_time_limit_is_not_deadlocked,
);

fn join_waits_for_the_end_whichever_way_it_comes(source: Preemption) {
    let mut guests = Guests::new(source);
    let sleeper = guests.spawn("sleep", &[Val::I32(30)]);
    let spin = guests.spawn("spin", &[]);
    let joins = [sleeper, spin].map(|id| guests.spawn("join", &[Val::I64(id.as_u64() as i64)]));
    run_until(&mut guests.store, |store| finished(store, joins[0]));
    run_until_parked(&mut guests.store, &joins[1..]);
    let waits_for = joins[1].info(&guests.store).unwrap().waits_for;
    assert_eq!(waits_for, Some(WaitFor::Thread(spin)));
    spin.kill(&mut guests.store).unwrap();
    assert_eq!(
        guests.run(Duration::MAX).end,
        RunEnd::AllFinished,
        "{source}"
    );
}

fn one_that_waits_for_a_thread_with_a_wall_time_limit_is_not_deadlocked(source: Preemption) {
    let mut guests = Guests::new(source);
    // Nobody opens the gate any more.
    let stuck = guests.spawn("pass", &[]);
    run_until_parked(&mut guests.store, &[stuck]);
    guests.store.data().gate.0.lock().unwrap().1.clear();
    let limits = ThreadLimits::new().wall_time(ms(50));
    stuck.set_limits(&mut guests.store, limits).unwrap();
    let joiner = guests.spawn("join", &[Val::I64(stuck.as_u64() as i64)]);
    let run = guests.run(HANG);
    assert_eq!(run.end, RunEnd::AllFinished, "{source}");
    let exit = joiner.take_exit(&mut guests.store);
    assert!(matches!(exit, Some(Exit::Returned(_))), "{exit:?}");
}
