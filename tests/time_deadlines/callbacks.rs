//! A callback decides what happens at the deadline.

use super::support::*;
use crate::support::must_end;
use wasmtime_preempt::wasmtime::bail;
use wasmtime_preempt::wasmtime::preempt::{TimeDeadline, UpdateTimeDeadline};

#[test]
fn a_guest_goes_on_where_it_was_as_often_as_the_callback_says() {
    must_end(|| {
        for engine in engines() {
            for deadline in [TimeDeadline::Wall, TimeDeadline::Cpu] {
                let (mut store, instance) = guests(&engine, 0_u64, |_, value| value);
                let sum = export::<i64, i64>(&mut store, &instance, "sum");
                let expected = sum.call(&mut store, 1_000_000).unwrap();
                let deadline = deadline(std::time::Duration::from_micros(100));
                store.time_deadline_callback(move |mut store| {
                    *store.data_mut() += 1;
                    Ok(UpdateTimeDeadline::Continue(deadline))
                });
                store.set_time_deadline(deadline).unwrap();
                while *store.data() < 100 {
                    assert_eq!(sum.call(&mut store, 1_000_000).unwrap(), expected);
                }
                store.time_deadline_callback(|mut store| {
                    *store.data_mut() += 1;
                    Ok(UpdateTimeDeadline::Interrupt)
                });
                let before = *store.data();
                let spin = export::<(), ()>(&mut store, &instance, "spin");
                assert_reached(&spin.call(&mut store, ()).unwrap_err(), deadline);
                assert_eq!(*store.data(), before + 1);
                store.time_deadline_trap();
                assert_reached(&spin.call(&mut store, ()).unwrap_err(), deadline);
                assert_eq!(*store.data(), before + 1);
            }
        }
    });
}

#[test]
fn its_error_ends_the_call() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            store.time_deadline_callback(|_| bail!("says no"));
            store.set_time_deadline(wall(1)).unwrap();
            let spin = export::<(), ()>(&mut store, &instance, "spin");
            let error = spin.call(&mut store, ()).unwrap_err();
            assert!(format!("{error:?}").contains("says no"), "{error:?}");
        }
    });
}

#[test]
fn it_cannot_yield_from_a_call_that_is_not_asynchronous() {
    must_end(|| {
        for engine in engines() {
            let (mut store, instance) = plain_guests(&engine);
            store.time_deadline_callback(|_| Ok(UpdateTimeDeadline::Yield(FAR)));
            store.set_time_deadline(wall(1)).unwrap();
            let spin = export::<(), ()>(&mut store, &instance, "spin");
            let error = spin.call(&mut store, ()).unwrap_err();
            let error = format!("{error:?}");
            assert!(error.contains("async wasm entrypoint"), "{error}");
        }
    });
}
