//! The engines, compiled once each, and what guests do there.

use super::gate::Gate;
use crate::bytes::Bytes;
use crate::source;
use arbitrary::{Result, Unstructured};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;
use wasmtime::preempt::{ConcurrentCaller, Preemption};
use wasmtime::*;

/// Functions of a number, in an instance that all threads may share.
const STATELESS: &str = r#"
(module
  (import "" "memory" (memory 1 1 shared))
  (import "" "nested" (func $nested (param i64) (result i64)))
  (import "" "keeps" (func $keeps))
  (import "" "pass" (func $pass))
  (import "" "sleep" (func $sleep (param i64)))
  (import "" "join" (func $join (param i64)))
  (import "" "yields" (func $yields))
  (import "" "child" (func $child (param i64)))
  (import "" "kill" (func $kill (param i64)))
  (type $box (struct (field i64)))
  ;; 1 + 2 + ... + n, in objects that nobody else refers to.
  (func $sum (export "sum") (param $n i64) (result i64)
    (local $sum (ref $box))
    (local.set $sum (struct.new $box (i64.const 0)))
    (loop $again
      (if (i64.eqz (local.get $n))
        (then (return (struct.get $box 0 (local.get $sum)))))
      (local.set $sum (struct.new $box
        (i64.add (struct.get $box 0 (local.get $sum)) (local.get $n))))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br $again))
    unreachable)
  (func (export "trap") (param i64) (result i64)
    (drop (call $sum (local.get 0))) unreachable)
  (func $overflow (export "overflow") (param i64) (result i64)
    (i64.add (i64.const 1) (call $overflow (local.get 0))))
  (func (export "spin") (param i64) (result i64) (loop br 0) unreachable)
  (func (export "nested") (param i64) (result i64)
    (i64.add (call $nested (local.get 0)) (call $sum (local.get 0))))
  (func (export "keeps") (param i64) (result i64) (call $keeps) (call $sum (local.get 0)))
  (func (export "pass") (param i64) (result i64) (call $pass) (call $sum (local.get 0)))
  (func (export "sleep") (param i64) (result i64)
    (call $sleep (local.get 0)) (call $sum (local.get 0)))
  (func (export "join") (param i64) (result i64) (call $join (local.get 0)) (local.get 0))
  (func (export "yields") (param i64) (result i64)
    (call $yields) (call $yields) (call $sum (local.get 0)))
  (func (export "child") (param i64) (result i64)
    (call $child (local.get 0)) (call $sum (local.get 0)))
  (func (export "kill") (param i64) (result i64) (call $kill (local.get 0)) (local.get 0))
  (func $word (param i64) (result i32)
    (i32.mul (i32.and (i32.wrap_i64 (local.get 0)) (i32.const 3)) (i32.const 4)))
  (func (export "wait") (param i64) (result i64)
    (drop (memory.atomic.wait32 (call $word (local.get 0)) (i32.const 0) (i64.const -1)))
    (local.get 0))
  (func (export "nap") (param i64) (result i64)
    (drop (memory.atomic.wait32 (call $word (local.get 0)) (i32.const 0)
      (i64.mul (local.get 0) (i64.const 100))))
    (call $sum (local.get 0)))
  (func (export "notify") (param i64) (result i64)
    (drop (memory.atomic.notify (call $word (local.get 0)) (i32.const 2)))
    (local.get 0)))
"#;

/// A function in an instance with state of its own.
const STATEFUL: &str = r#"
(module
  (global $count (mut i64) (i64.const 0))
  (memory 1)
  (func (export "count") (param $n i64) (result i64)
    (local $before i64) (local $left i64)
    (local.set $before (global.get $count))
    (local.set $left (local.get $n))
    (loop $again
      (if (i64.eqz (local.get $left))
        (then (return (i64.sub (global.get $count) (local.get $before)))))
      (global.set $count (i64.add (global.get $count) (i64.const 1)))
      (i64.store (i32.const 0) (global.get $count))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br $again))
    unreachable))
"#;

/// An engine, and the guests compiled for it.
#[derive(Clone, Copy)]
pub struct Guests {
    pub source: Preemption,
    /// Whether there is a budget of fuel.
    pub has_budget: bool,
    pub engine: &'static Engine,
    pub stateless: &'static Module,
    pub stateful: &'static Module,
}

/// What a store's host functions know.
pub struct Host {
    pub gate: Gate,
    /// Whom guests have killed.
    pub killed: Arc<Mutex<Vec<u64>>>,
    /// Whatever may be left over has a clone of it.
    pub token: Arc<()>,
}

type Key = (u8, bool, bool);
type Compiled = (Engine, Module, Module);

impl Guests {
    /// Whether threads may have limits of fuel.
    pub fn counts_fuel(&self) -> bool {
        self.has_budget || self.source == Preemption::Fuel
    }

    /// Of one of all engines that there may be.
    pub fn choose(u: &mut Unstructured<'_>) -> Result<Guests> {
        static COMPILED: OnceLock<Mutex<BTreeMap<Key, &'static Compiled>>> = OnceLock::new();
        let source = source::source(u)?;
        let copying = u.arbitrary()?;
        let counts_fuel = u.arbitrary()?;
        let key = (source as u8, copying, counts_fuel);
        let compiled = COMPILED.get_or_init(Mutex::default).lock();
        let mut compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        let (engine, stateless, stateful) = compiled
            .entry(key)
            .or_insert_with(|| Box::leak(Box::new(compile(source, copying, counts_fuel))));
        Ok(Guests {
            source,
            has_budget: counts_fuel,
            engine,
            stateless,
            stateful,
        })
    }

    /// The bytes that choose an engine that counts no fuel if it need not.
    pub fn write(source: Preemption, to: &mut Bytes) {
        to.source(source);
        to.bool(false);
        to.bool(false);
    }
}

fn compile(source: Preemption, copying: bool, counts_fuel: bool) -> Compiled {
    let mut config = Config::new();
    config
        .preemption(source)
        .shared_memory(true)
        .wasm_gc(true)
        .wasm_function_references(true)
        .collector(match copying {
            true => Collector::Copying,
            false => Collector::DeferredReferenceCounting,
        });
    if counts_fuel {
        config.consume_fuel(true);
    }
    let engine = Engine::new(&config).expect("the configuration works");
    let [stateless, stateful] = [STATELESS, STATEFUL].map(|text| Module::new(&engine, text));
    (
        engine,
        stateless.expect("it is valid"),
        stateful.expect("it is valid"),
    )
}

/// What a future of a host function may do.
type Wait<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;
type Accessor = ConcurrentCaller<Host>;

/// Defines what guests import.
pub fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    // Asynchronous, as the store has another function that is.
    linker.func_wrap_async(
        "",
        "nested",
        |mut caller: Caller<'_, Host>, (n,): (i64,)| {
            Box::new(async move {
                let sum = caller.get_export("sum").and_then(Extern::into_func);
                let sum = sum.expect("it is exported").typed::<i64, i64>(&caller)?;
                sum.call_async(&mut caller, n).await
            })
        },
    )?;
    linker.func_wrap_async("", "keeps", |caller: Caller<'_, Host>, (): ()| {
        let token = caller.data().token.clone();
        Box::new(async move {
            let mut polled = false;
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            drop(token);
        })
    })?;
    linker.func_wrap_concurrent("", "pass", |accessor: &Accessor, (): ()| {
        Box::pin(async move {
            let state = accessor.with(|caller| {
                let host = caller.data();
                (host.gate.clone(), host.token.clone())
            });
            let (gate, token) = state?;
            gate.pass().await;
            drop(token);
            Ok(())
        }) as Wait<'_, wasmtime::Result<()>>
    })?;
    linker.func_wrap_concurrent("", "sleep", |accessor: &Accessor, (n,): (i64,)| {
        let time = Duration::from_micros(n as u64 % 300);
        Box::pin(accessor.sleep(time)) as Wait<'_, wasmtime::Result<()>>
    })?;
    linker.func_wrap_concurrent("", "join", |accessor: &Accessor, (n,): (i64,)| {
        let other = ThreadId::from_u64(n as u64);
        Box::pin(accessor.join(other)) as Wait<'_, wasmtime::Result<()>>
    })?;
    linker.func_wrap_concurrent("", "yields", |accessor: &Accessor, (): ()| {
        Box::pin(accessor.yield_now()) as Wait<'_, ()>
    })?;
    linker.func_wrap("", "child", |mut caller: Caller<'_, Host>, n: i64| {
        let sum = caller.get_export("sum").and_then(Extern::into_func);
        let sum = sum.expect("it is exported");
        let options = ThreadOptions::new().name("child").detached(true);
        // An error if there are too many.
        let _ = options.spawn(&mut caller, sum, &[Val::I64(n)]);
    })?;
    linker.func_wrap("", "kill", |mut caller: Caller<'_, Host>, n: i64| {
        let other = ThreadId::from_u64(n as u64);
        let killed = caller.data().killed.clone();
        if other.kill(&mut caller).is_ok() {
            let mut killed = killed.lock().unwrap_or_else(PoisonError::into_inner);
            killed.push(n as u64);
        }
    })?;
    Ok(())
}
