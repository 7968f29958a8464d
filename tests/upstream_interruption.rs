//! The four ways to interrupt guests that upstream documents work as before:
//! {fuel, epochs} x {trap, async yield}, on engines with preemption and without.

use crate::support::*;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use wasmtime::*;

/// Engines with fuel and epochs, each preempted in another way or not at all.
fn engines() -> [Engine; 3] {
    [None, Some(Preemption::Fuel), Some(Preemption::Epoch)].map(|preemption| {
        let mut config = preemption.map_or_else(Config::new, config);
        config.consume_fuel(true).epoch_interruption(true);
        Engine::new(&config).unwrap()
    })
}

/// Engines of which only `set` was asked for.
fn engines_with(set: impl Fn(&mut Config)) -> [Engine; 3] {
    [None, Some(Preemption::Fuel), Some(Preemption::Epoch)].map(|preemption| {
        let mut config = preemption.map_or_else(Config::new, config);
        set(&mut config);
        Engine::new(&config).unwrap()
    })
}

/// Advances the epoch at each turn.
const TURNS: &str = r#"
(module
  (import "" "tick" (func $tick))
  (func (export "turns") (param $n i32) (result i32)
    (local $i i32)
    (loop $again
      (call $tick)
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $i)))
"#;

struct Turns {
    store: Store<u64>,
    turns: TypedFunc<i32, i32>,
}

impl Turns {
    /// With all the fuel, and a deadline that is far away.
    fn new(engine: &Engine) -> Turns {
        let module = Module::new(engine, TURNS).unwrap();
        let mut store = Store::new(engine, 0);
        let _ = store.set_fuel(u64::MAX);
        store.set_epoch_deadline(1 << 40);
        let ticked = engine.clone();
        let tick = Func::wrap(&mut store, move |mut caller: Caller<'_, u64>| {
            *caller.data_mut() += 1;
            ticked.increment_epoch();
        });
        let turns = Instance::new(&mut store, &module, &[tick.into()]).unwrap();
        let turns = turns.get_typed_func(&mut store, "turns").unwrap();
        Turns { store, turns }
    }

    fn call(&mut self, n: i32) -> Result<i32> {
        self.turns.call(&mut self.store, n)
    }

    /// The result, and how often the call yielded.
    fn call_async(&mut self, n: i32) -> (Result<i32>, u64) {
        let mut call = pin!(self.turns.call_async(&mut self.store, n));
        let mut yields = 0;
        loop {
            match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => return (result, yields),
                Poll::Pending => yields += 1,
            }
        }
    }
}

#[track_caller]
fn assert_trapped(result: Result<i32>, trap: Trap) {
    let error = result.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&trap), "{error:?}");
}

#[test]
fn fuel_traps() {
    let mut left = Vec::new();
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns.store.set_fuel(1_000).unwrap();
        assert_trapped(turns.call(1 << 30), Trap::OutOfFuel);
        assert_eq!(turns.store.get_fuel().unwrap(), 0);
        let done = *turns.store.data();
        turns.store.set_fuel(1_000).unwrap();
        assert_eq!(turns.call(10).unwrap(), 10);
        left.push((done, turns.store.get_fuel().unwrap()));
    }
    // To the unit.
    assert!(left.iter().all(|figures| *figures == left[0]), "{left:?}");
}

#[test]
fn fuel_yields() {
    let mut yields = Vec::new();
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns.store.fuel_async_yield_interval(Some(100)).unwrap();
        turns.store.set_fuel(100_000).unwrap();
        let (result, yielded) = turns.call_async(1_000);
        assert_eq!(result.unwrap(), 1_000);
        assert!(yielded > 10, "{yielded}");
        yields.push((yielded, turns.store.get_fuel().unwrap()));
        turns.store.set_fuel(1_000).unwrap();
        assert_trapped(turns.call_async(1 << 30).0, Trap::OutOfFuel);
    }
    assert!(
        yields.iter().all(|figures| *figures == yields[0]),
        "{yields:?}"
    );
}

#[test]
fn epochs_trap() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns.store.set_epoch_deadline(7);
        assert_trapped(turns.call(1 << 30), Trap::Interrupt);
        assert_eq!(*turns.store.data(), 7);
        turns.store.set_epoch_deadline(100);
        turns.store.epoch_deadline_trap();
        assert_eq!(turns.call(50).unwrap(), 50);
        assert_trapped(turns.call(1 << 30), Trap::Interrupt);
        assert_eq!(*turns.store.data(), 107);
    }
}

#[test]
fn epochs_yield() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns.store.epoch_deadline_async_yield_and_update(10);
        turns.store.set_epoch_deadline(10);
        let (result, yields) = turns.call_async(100);
        assert_eq!(result.unwrap(), 100);
        assert!((9..=10).contains(&yields), "{yields}");
    }
}

#[test]
fn epochs_trap_before_the_first_deadline_is_set() {
    for engine in engines() {
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000).unwrap();
        let answer = Instance::new(&mut store, &module, &[]).unwrap();
        let answer = answer
            .get_typed_func::<(), i32>(&mut store, "answer")
            .unwrap();
        assert_trapped(answer.call(&mut store, ()), Trap::Interrupt);
    }
}

#[test]
fn an_epoch_callback_continues() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        let calls = Arc::new(AtomicU64::new(0));
        let called = calls.clone();
        turns.store.epoch_deadline_callback(move |store| {
            assert!(*store.data() > 0);
            called.fetch_add(1, Ordering::SeqCst);
            Ok(UpdateDeadline::Continue(5))
        });
        turns.store.set_epoch_deadline(5);
        assert_eq!(turns.call(100).unwrap(), 100);
        assert!((19..=20).contains(&calls.load(Ordering::SeqCst)));
    }
}

#[test]
fn an_epoch_callback_interrupts_or_fails() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns
            .store
            .epoch_deadline_callback(|_| Ok(UpdateDeadline::Interrupt));
        turns.store.set_epoch_deadline(3);
        assert_trapped(turns.call(100), Trap::Interrupt);
        turns
            .store
            .epoch_deadline_callback(|_| Err(Error::msg("enough")));
        turns.store.set_epoch_deadline(3);
        let error = turns.call(100).unwrap_err();
        assert_eq!(error.root_cause().to_string(), "enough");
        assert_eq!(*turns.store.data(), 6);
    }
}

#[test]
fn an_epoch_callback_yields_or_awaits() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        let calls = Arc::new(AtomicU64::new(0));
        let called = calls.clone();
        turns.store.epoch_deadline_callback(move |_| {
            Ok(match called.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => UpdateDeadline::Yield(5),
                // Pending three times.
                _ => {
                    let mut left = 3;
                    UpdateDeadline::YieldCustom(
                        5,
                        Box::pin(std::future::poll_fn(move |cx| {
                            cx.waker().wake_by_ref();
                            left -= 1;
                            if left < 0 {
                                Poll::Ready(())
                            } else {
                                Poll::Pending
                            }
                        })),
                    )
                }
            })
        });
        turns.store.set_epoch_deadline(5);
        let (result, yields) = turns.call_async(102);
        assert_eq!(result.unwrap(), 102);
        assert_eq!(calls.load(Ordering::SeqCst), 20);
        assert_eq!(yields, 10 + 3 * 10);
    }
}

#[test]
fn to_yield_in_a_synchronous_call_is_an_error() {
    for engine in engines() {
        for custom in [false, true] {
            let mut turns = Turns::new(&engine);
            turns.store.epoch_deadline_callback(move |_| {
                Ok(match custom {
                    false => UpdateDeadline::Yield(5),
                    true => UpdateDeadline::YieldCustom(5, Box::pin(async {})),
                })
            });
            turns.store.set_epoch_deadline(5);
            let error = format!("{:?}", turns.call(100).unwrap_err());
            let name = if custom { "YieldCustom`" } else { "Yield`" };
            let name = format!("cannot use `UpdateDeadline::{name}");
            assert!(error.contains(&name), "{error}");
            assert!(error.contains("async wasm entrypoint"), "{error}");
        }
    }
}

#[test]
fn an_interrupt_comes_from_another_os_thread() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        let module = Module::new(&engine, GUESTS).unwrap();
        let spin = Instance::new(&mut turns.store, &module, &[]).unwrap();
        let spin = spin
            .get_typed_func::<(), ()>(&mut turns.store, "spin")
            .unwrap();
        turns.store.set_epoch_deadline(2);
        let engine = engine.clone();
        let embedder = std::thread::spawn(move || {
            for _ in 0..2 {
                std::thread::sleep(ms(10));
                engine.increment_epoch();
            }
        });
        let error = spin.call(&mut turns.store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        embedder.join().unwrap();
    }
}

#[test]
fn a_call_that_is_dropped_half_way_unwinds() {
    for engine in engines() {
        let mut turns = Turns::new(&engine);
        turns.store.epoch_deadline_async_yield_and_update(1);
        turns.store.set_epoch_deadline(1);
        {
            let mut call = pin!(turns.turns.call_async(&mut turns.store, 1 << 30));
            for _ in 0..10 {
                let poll = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll.is_pending());
            }
        }
        turns.store.set_epoch_deadline(1);
        assert_eq!(turns.call_async(5).0.unwrap(), 5);
    }
}

#[test]
fn what_was_not_asked_for_stays_off() {
    let [plain, fuel, epoch] = engines_with(|_| ());
    for engine in [&plain, &epoch] {
        let mut store = Store::new(engine, ());
        assert!(store.get_fuel().is_err());
        assert!(store.set_fuel(1).is_err());
    }
    assert!(Store::new(&fuel, ()).get_fuel().is_ok());
    // Plain calls are not interrupted by what slices need.
    for engine in [plain, fuel, epoch] {
        engine.increment_epoch();
        let mut turns = Turns::new(&engine);
        assert_eq!(turns.call(1_000).unwrap(), 1_000);
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut store = Store::new(&engine, ());
        let sum = Instance::new(&mut store, &module, &[]).unwrap();
        let sum = sum.get_typed_func::<i64, i64>(&mut store, "sum").unwrap();
        assert_eq!(
            sum.call(&mut store, 50_000_000).unwrap(),
            1_250_000_025_000_000
        );
    }
}
