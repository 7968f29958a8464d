//! Engines of each way to deliver epochs, in which nobody increments the epoch.

use std::time::{Duration, Instant};
use wasmtime_preempt::wasmtime::preempt::{TimeDeadline, TimeDeadlineReached};
use wasmtime_preempt::wasmtime::{
    Caller, Config, Engine, EpochDelivery, Error, Func, Instance, Module, Store, TypedFunc,
    WasmParams, WasmResults,
};

pub fn config(delivery: EpochDelivery) -> Config {
    let mut config = crate::support::plain_config();
    config.epoch_interruption(true).epoch_delivery(delivery);
    config
}

/// One of each kind that works on this machine.
pub fn engines() -> Vec<Engine> {
    let deliveries: &[EpochDelivery] = match cfg!(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )) {
        true => &[EpochDelivery::Check, EpochDelivery::Signal],
        false => &[EpochDelivery::Check],
    };
    let engine = |&delivery| Engine::new(&config(delivery)).unwrap();
    deliveries.iter().map(engine).collect()
}

pub const GUESTS: &str = r#"
    (module
      (import "host" "call" (func $call (param i32) (result i32)))
      (func (export "spin") (loop $l (br $l)))
      (func (export "nop"))
      (func (export "call_and_spin") (param i32) (result i32)
        (drop (call $call (local.get 0)))
        (loop $l (br $l))
        (unreachable))
      (func (export "call") (param i32) (result i32) (call $call (local.get 0)))
      (func (export "call_in_a_loop") (loop $l (drop (call $call (i32.const 0))) (br $l)))
      (func (export "sum") (param $n i64) (result i64) (local $a i64)
        (loop $l
          (local.set $a (i64.add (i64.mul (local.get $a) (i64.const 6364136223846793005))
                                 (local.get $n)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br_if $l (i64.ne (local.get $n) (i64.const 0))))
        (local.get $a)))
"#;

/// A store with the guests, no epoch deadline to speak of, and a `call` that calls `host`.
pub fn guests<T: Send + 'static>(
    engine: &Engine,
    data: T,
    host: impl Fn(Caller<'_, T>, i32) -> i32 + Send + Sync + 'static,
) -> (Store<T>, Instance) {
    let mut store = Store::new(engine, data);
    store.set_epoch_deadline(u64::MAX / 2);
    let module = Module::new(engine, GUESTS).unwrap();
    let host = Func::wrap(&mut store, host);
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    (store, instance)
}

pub fn plain_guests(engine: &Engine) -> (Store<()>, Instance) {
    guests(engine, (), |_, value| value)
}

pub fn wall(millis: u64) -> TimeDeadline {
    TimeDeadline::Wall(Duration::from_millis(millis))
}

pub fn cpu(millis: u64) -> TimeDeadline {
    TimeDeadline::Cpu(Duration::from_millis(millis))
}

/// Longer than any test.
pub const FAR: TimeDeadline = TimeDeadline::Wall(Duration::from_secs(10_000));

#[track_caller]
pub fn assert_reached(error: &Error, deadline: TimeDeadline) {
    assert_eq!(
        error.downcast_ref(),
        Some(&TimeDeadlineReached { deadline }),
        "{error:?}"
    );
}

/// Keeps the OS thread busy.
pub fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// An executor on this OS thread.
pub fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

/// A function that `instance` exports.
pub fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<impl Sized>,
    instance: &Instance,
    name: &str,
) -> TypedFunc<P, R> {
    instance.get_typed_func(store, name).unwrap()
}
