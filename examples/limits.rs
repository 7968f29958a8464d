//! Limits a component in time and in fuel: an infinite loop is ended after 20 ms on the CPU,
//! and a long one when its fuel is used up. There are no guest threads, and nobody increments
//! epochs.
//!
//! ```sh
//! cargo run --example limits
//! ```

use std::time::Duration;
use wasmtime_preempt::wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime_preempt::wasmtime::preempt::{TimeDeadline, TimeDeadlineReached};
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(component
  (core module $m
    (func (export "forever") (loop $l (br $l)))
    (func (export "count") (param $n i32) (result i32) (local $i i32)
      (loop $l
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
      (local.get $i)))
  (core instance $i (instantiate $m))
  (func (export "forever") (canon lift (core func $i "forever")))
  (func (export "count") (param "n" u32) (result u32) (canon lift (core func $i "count"))))
"#;

fn main() -> Result<()> {
    let mut config = Config::new();
    config.epoch_interruption(true).consume_fuel(true);
    // Signals interrupt guests without checks in their code. Where they do not work, there are
    // checks.
    config.epoch_delivery(EpochDelivery::Signal);
    let engine = Engine::new(&config).or_else(|_| {
        config.epoch_delivery(EpochDelivery::Check);
        Engine::new(&config)
    })?;
    let component = Component::new(&engine, GUEST)?;

    // A store for each request, with its limits.
    let request = |fuel| -> Result<_> {
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        store.set_fuel(fuel)?;
        store.set_time_deadline(TimeDeadline::Cpu(Duration::from_millis(20)))?;
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        Ok((store, instance))
    };

    let (mut store, instance) = request(u64::MAX)?;
    let forever: TypedFunc<(), ()> = instance.get_typed_func(&mut store, "forever")?;
    let error = forever.call(&mut store, ()).expect_err("it never returns");
    let reached = error.downcast_ref::<TimeDeadlineReached>();
    println!("forever: {}", reached.expect("its limit in time"));

    let (mut store, instance) = request(1_000)?;
    let count: TypedFunc<(u32,), (u32,)> = instance.get_typed_func(&mut store, "count")?;
    let error = count.call(&mut store, (1_000_000,)).expect_err("too long");
    println!("count(1000000): {}", error.downcast::<Trap>()?);

    let (mut store, instance) = request(1_000)?;
    let count: TypedFunc<(u32,), (u32,)> = instance.get_typed_func(&mut store, "count")?;
    let (counted,) = count.call(&mut store, (50,))?;
    println!("count(50): {counted}");
    Ok(())
}
