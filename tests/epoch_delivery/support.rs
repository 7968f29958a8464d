//! Engines whose epochs are signals, and OS threads that increment them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wasmtime_preempt::wasmtime::{Config, Engine, EpochDelivery, Instance, Module, Store};

pub fn config(delivery: EpochDelivery) -> Config {
    let mut config = crate::support::plain_config();
    config.epoch_interruption(true).epoch_delivery(delivery);
    config
}

pub fn engine() -> Engine {
    Engine::new(&config(EpochDelivery::Signal)).unwrap()
}

pub const GUESTS: &str = r#"
    (module
      (import "host" "call" (func $call (param i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "spin") (loop $l (br $l)))
      (func (export "call") (param i32) (result i32) (call $call (local.get 0)))
      (func (export "call_in_a_loop") (loop $l (drop (call $call (i32.const 0))) (br $l)))
      ;; A sum that takes each value of its registers into account.
      (func (export "sum") (param $n i64) (result i64)
        (local $a i64) (local $b i64) (local $c f64)
        (loop $l
          (local.set $a (i64.add (i64.mul (local.get $a) (i64.const 6364136223846793005))
                                 (local.get $n)))
          (local.set $b (i64.xor (local.get $b) (i64.rotl (local.get $a) (local.get $n))))
          (local.set $c (f64.add (local.get $c) (f64.convert_i64_s (local.get $b))))
          (i64.store (i32.wrap_i64 (i64.and (local.get $n) (i64.const 0xfff8))) (local.get $b))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br_if $l (i64.ne (local.get $n) (i64.const 0))))
        (i64.xor (local.get $b) (i64.reinterpret_f64 (local.get $c)))))
"#;

/// A store with the guests, whose `call` calls `host`.
pub fn guests<T: Send + 'static>(
    engine: &Engine,
    data: T,
    host: impl Fn(wasmtime_preempt::wasmtime::Caller<'_, T>, i32) -> i32 + Send + Sync + 'static,
) -> (Store<T>, Instance) {
    let mut store = Store::new(engine, data);
    store.set_epoch_deadline(1);
    let module = Module::new(engine, GUESTS).unwrap();
    let host = wasmtime_preempt::wasmtime::Func::wrap(&mut store, host);
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    (store, instance)
}

/// The guests, with a host function that returns its argument.
pub fn plain_guests(engine: &Engine) -> (Store<()>, Instance) {
    guests(engine, (), |_, value| value)
}

/// Increments an engine's epoch at intervals, until dropped.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn new(engine: &Engine, interval: Duration) -> Ticker {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                thread::sleep(interval);
                engine.increment_epoch();
            }
        });
        Ticker {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

pub fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}
