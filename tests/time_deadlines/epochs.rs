//! Epoch deadlines mean what they mean without deadlines in time, in the same store and in
//! others of the engine.

use super::support::*;
use crate::support::must_end;
use std::time::Duration;
use wasmtime_preempt::wasmtime::preempt::{TimeDeadline, UpdateTimeDeadline};
use wasmtime_preempt::wasmtime::{Trap, UpdateDeadline};

#[test]
fn the_first_of_the_two_ends_the_call() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            let spin = export::<(), ()>(&mut store, &instance, "spin");
            for _ in 0..10 {
                store.set_time_deadline(FAR).unwrap();
                store.set_epoch_deadline(1);
                engine.increment_epoch();
                let error = spin.call(&mut store, ()).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{error:?}");

                store.set_epoch_deadline(1);
                store.set_time_deadline(wall(1)).unwrap();
                assert_reached(&spin.call(&mut store, ()).unwrap_err(), wall(1));
            }
        }
    });
}

#[test]
fn deadlines_in_time_do_not_bring_epoch_deadlines_nearer() {
    must_end(|| {
        for engine in engines() {
            let (mut other, other_instance) = plain_guests(&engine);
            let nop = export::<(), ()>(&mut other, &other_instance, "nop");
            other.set_epoch_deadline(2);

            let (mut store, instance) = guests(&engine, 0, |_, value| value);
            let sum = export::<i64, i64>(&mut store, &instance, "sum");
            store.set_epoch_deadline(2);
            let deadline = TimeDeadline::Wall(Duration::from_micros(200));
            store.time_deadline_callback(move |mut store| {
                *store.data_mut() += 1;
                Ok(UpdateTimeDeadline::Continue(deadline))
            });
            store.set_time_deadline(deadline).unwrap();
            while *store.data() < 50 {
                sum.call(&mut store, 1_000_000).unwrap();
                nop.call(&mut other, ()).unwrap();
            }
            engine.increment_epoch();
            sum.call(&mut store, 1_000_000).unwrap();
            nop.call(&mut other, ()).unwrap();
            engine.increment_epoch();
            for error in [
                sum.call(&mut store, 1_000_000).unwrap_err(),
                nop.call(&mut other, ()).unwrap_err(),
            ] {
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{error:?}");
            }
        }
    });
}

#[test]
fn both_callbacks_are_called() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = guests(&engine, (0, 0), |_, value| value);
            let sum = export::<i64, i64>(&mut store, &instance, "sum");
            store.epoch_deadline_callback(|mut store| {
                store.data_mut().0 += 1;
                Ok(UpdateDeadline::Continue(1))
            });
            store.set_epoch_deadline(1);
            let deadline = TimeDeadline::Wall(Duration::from_micros(200));
            store.time_deadline_callback(move |mut store| {
                store.data_mut().1 += 1;
                Ok(UpdateTimeDeadline::Continue(deadline))
            });
            store.set_time_deadline(deadline).unwrap();
            let mut increments = 0;
            while store.data().0 < 50 || store.data().1 < 50 {
                engine.increment_epoch();
                increments += 1;
                sum.call(&mut store, 100_000).unwrap();
            }
            // One for each, and none for the timer's.
            assert_eq!(store.data().0, increments);
        }
    });
}
