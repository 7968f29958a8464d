//! The component, compiled once for each engine.

use super::host::{self, Host};
use crate::bytes::Bytes;
use crate::source;
use arbitrary::{Result, Unstructured};
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use wasmtime::component::{Component, InstancePre};
use wasmtime::preempt::Preemption;
use wasmtime::{Config, Engine};

/// `sum` calls another component at each step, through a fused adapter. `lend` and `give` look at a
/// resource as often as they are told, and `make` makes and drops as many. `echo` returns a string
/// twice, and `ask` gets one from the host. `realloc` takes some time.
const COMPONENT: &str = r#"
(component
  (import "r" (type $r (sub resource)))
  (import "make" (func $make (result (own $r))))
  (import "look" (func $look (param "r" (borrow $r)) (result u32)))
  (import "name" (func $name (result string)))
  (import "nap" (func $nap))

  (component $adder
    (core module $m
      (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32)
      (canon lift (core func $i "add"))))
  (instance $adder (instantiate $adder))
  (component $summer
    (import "add" (func $add (param "a" u32) (param "b" u32) (result u32)))
    (core func $add (canon lower (func $add)))
    (core module $m
      (import "" "add" (func $add (param i32 i32) (result i32)))
      (func (export "sum") (param $n i32) (result i32) (local $sum i32)
        (loop $again
          (local.set $sum (call $add (local.get $sum) (local.get $n)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))
    (core instance $i (instantiate $m
      (with "" (instance (export "add" (func $add))))))
    (func (export "sum") (param "n" u32) (result u32) (canon lift (core func $i "sum"))))
  (instance $summer (instantiate $summer (with "add" (func $adder "add"))))
  (func (export "sum") (alias export $summer "sum"))

  (core module $memory
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $turns i32)
      (loop $again
        (br_if $again (i32.lt_u
          (local.tee $turns (i32.add (local.get $turns) (i32.const 1))) (i32.const 20))))
      (global.get $free)
      (global.set $free
        (i32.and (i32.const 0x3fff) (i32.add (global.get $free) (local.get 3)))))
    (func (export "done") (param i32) (global.set $free (i32.const 1024))))
  (core instance $memory (instantiate $memory))
  (core func $make (canon lower (func $make)))
  (core func $look (canon lower (func $look)))
  (core func $nap (canon lower (func $nap)))
  (core func $name (canon lower (func $name)
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $drop (canon resource.drop $r))

  (core module $m
    (import "" "memory" (memory 1))
    (import "" "make" (func $make (result i32)))
    (import "" "look" (func $look (param i32) (result i32)))
    (import "" "name" (func $name (param i32)))
    (import "" "nap" (func $nap))
    (import "" "drop" (func $drop (param i32)))
    (func (export "look") (param $r i32) (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (local.set $sum (i32.add (local.get $sum) (call $look (local.get $r))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (call $drop (local.get $r))
      (local.get $sum))
    (func (export "make") (param $n i32) (result i32) (local $made i32) (local $r i32)
      (loop $again
        (local.set $r (call $make))
        (drop (call $look (local.get $r)))
        (call $drop (local.get $r))
        (local.set $made (i32.add (local.get $made) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $made) (local.get $n))))
      (local.get $made))
    (func (export "echo") (param $at i32) (param $len i32) (result i32)
      (memory.copy (i32.const 0x5000) (local.get $at) (local.get $len))
      (memory.copy (i32.add (i32.const 0x5000) (local.get $len))
        (local.get $at) (local.get $len))
      (i32.store (i32.const 0) (i32.const 0x5000))
      (i32.store (i32.const 4) (i32.mul (local.get $len) (i32.const 2)))
      (i32.const 0))
    (func (export "ask") (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (call $name (i32.const 0))
        (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 4))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $sum))
    (func (export "nap") (call $nap) (call $nap))
    (func (export "spin") (loop br 0))
    (func (export "trap") unreachable))
  (core instance $i (instantiate $m (with "" (instance
    (export "memory" (memory $memory "memory"))
    (export "make" (func $make)) (export "look" (func $look))
    (export "name" (func $name)) (export "nap" (func $nap)) (export "drop" (func $drop))))))
  (func (export "lend") (param "r" (borrow $r)) (param "n" u32) (result u32)
    (canon lift (core func $i "look")))
  (func (export "give") (param "r" (own $r)) (param "n" u32) (result u32)
    (canon lift (core func $i "look")))
  (func (export "make") (param "n" u32) (result u32) (canon lift (core func $i "make")))
  (func (export "echo") (param "s" string) (result string)
    (canon lift (core func $i "echo") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc")) (post-return (core func $memory "done"))))
  (func (export "ask") (param "n" u32) (result u32) (canon lift (core func $i "ask")))
  (func (export "nap") (canon lift (core func $i "nap")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "trap") (canon lift (core func $i "trap"))))
"#;

/// An engine, and the component compiled for it.
#[derive(Clone)]
pub struct Guests {
    pub source: Preemption,
    pub engine: &'static Engine,
    pub pre: InstancePre<Host>,
}

type Compiled = (Engine, InstancePre<Host>);

impl Guests {
    /// Of one of all engines that there may be.
    pub fn choose(u: &mut Unstructured<'_>) -> Result<Guests> {
        static COMPILED: OnceLock<Mutex<BTreeMap<(u8, bool), &'static Compiled>>> = OnceLock::new();
        let source = source::source(u)?;
        let concurrency = u.arbitrary()?;
        let compiled = COMPILED.get_or_init(Mutex::default).lock();
        let mut compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        let (engine, pre) = compiled
            .entry((source as u8, concurrency))
            .or_insert_with(|| Box::leak(Box::new(compile(source, concurrency))));
        Ok(Guests {
            source,
            engine,
            pre: pre.clone(),
        })
    }

    /// The bytes that choose an engine whose calls may wait for each other.
    pub fn write(source: Preemption, to: &mut Bytes) {
        to.source(source);
        to.bool(true);
    }
}

fn compile(source: Preemption, concurrency: bool) -> Compiled {
    let mut config = Config::new();
    config.preemption(source).concurrency_support(concurrency);
    let engine = Engine::new(&config).expect("the configuration works");
    let component = Component::new(&engine, COMPONENT).expect("it is valid");
    let linker = host::linker(&engine, concurrency).expect("each is defined once");
    let pre = linker.instantiate_pre(&component);
    (engine, pre.expect("all imports are defined"))
}
