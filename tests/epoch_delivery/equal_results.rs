//! Guests with references, exceptions, and tables and memories that grow have the same results
//! when they are interrupted all the time.

use super::support::*;
use crate::support::must_end;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime_preempt::wasmtime::{
    Collector, Engine, EpochDelivery, Instance, Module, Store, UpdateDeadline,
};

const GUEST: &str = r#"
    (module
      (type $node (struct (field $value (mut i64)) (field $next (mut (ref null $node)))))
      (type $array (array (mut i32)))
      (tag $t (param i64))
      (memory 1)
      (table $functions 1 funcref)
      (table $nodes 1 (ref null $node))
      (global $kept (mut (ref null $node)) (ref.null $node))
      (func $add (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
      (elem declare func $add)
      (func $throws (param $n i64) (throw $t (local.get $n)))
      (func (export "run") (param $n i64) (result i64)
        (local $sum i64) (local $list (ref null $node)) (local $array (ref null $array))
        (loop $l
          (local.set $list (struct.new $node (local.get $n) (local.get $list)))
          (local.set $array (array.new $array (i32.wrap_i64 (local.get $n)) (i32.const 16)))
          (local.set $sum (i64.add (local.get $sum)
            (i64.extend_i32_u (array.get $array (local.get $array) (i32.const 7)))))
          ;; Most of the list is garbage now and then.
          (if (i64.eqz (i64.and (local.get $n) (i64.const 63)))
            (then
              (global.set $kept (local.get $list))
              (table.set $nodes (i32.const 0) (local.get $list))
              (local.set $list (ref.null $node))))
          (if (i64.eqz (i64.and (local.get $n) (i64.const 1023)))
            (then
              (drop (table.grow $functions (ref.func $add) (i32.const 1)))
              (drop (table.grow $nodes (global.get $kept) (i32.const 1)))
              (drop (memory.grow (i32.const 1)))))
          (local.set $sum (i64.rotl (i64.xor (local.get $sum)
            (struct.get $node $value (ref.as_non_null (global.get $kept)))) (i64.const 1)))
          (local.set $sum (i64.add (local.get $sum)
            (block $caught (result i64)
              (try_table (catch $t $caught) (call $throws (local.get $n)))
              (i64.const 0))))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br_if $l (i64.ne (local.get $n) (i64.const 0))))
        (i64.add (local.get $sum) (i64.extend_i32_u (table.size $nodes)))))
"#;

/// The result of one call, and how often it was interrupted.
fn run(engine: &Engine, ticks: bool) -> (i64, u64) {
    let interrupted = Arc::new(AtomicU64::new(0));
    let counter = interrupted.clone();
    let mut store = Store::new(engine, ());
    store.epoch_deadline_callback(move |_| {
        counter.fetch_add(1, Relaxed);
        Ok(UpdateDeadline::Continue(1))
    });
    store.set_epoch_deadline(if ticks { 1 } else { u64::MAX / 2 });
    let module = Module::new(engine, GUEST).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance
        .get_typed_func::<i64, i64>(&mut store, "run")
        .unwrap();
    let result = run.call(&mut store, 20_480).unwrap();
    (result, interrupted.load(Relaxed))
}

fn interrupt(times: u64) {
    must_end(move || {
        for collector in [Collector::Null, Collector::Copying] {
            let mut config = config(EpochDelivery::Signal);
            config.collector(collector);
            config.wasm_exceptions(true);
            let engine = Engine::new(&config).unwrap();
            let (expected, _) = run(&engine, false);
            let _ticker = Ticker::new(&engine, micros(50));
            let mut interrupted = 0;
            while interrupted < times {
                let (result, more) = run(&engine, true);
                assert_eq!(result, expected, "{collector:?}");
                interrupted += more;
            }
            println!("- {collector:?}: {interrupted} interruptions");
        }
    });
}

#[test]
fn guests_with_references_have_the_same_results() {
    interrupt(300);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn guests_with_references_have_the_same_results_for_long() {
    interrupt(35_000);
}
