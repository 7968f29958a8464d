//! What a `Store` costs that spawns no guest thread. Compiled into two binaries:
//! one with the patched Wasmtime, one with the published one. See
//! `beside_stock.rs` for the other end of the pipe.
//!
//! Each line of standard input is the name of a case and a number of times, and
//! is answered by a line with the nanoseconds of CPU time that it took to do it so
//! often.

use super::fibers::{Called, Fibers, Inlined, Switch};
use super::served::{self, Build, Mode, cpu_time};
use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Engine, Func, Instance, InstancePre, Linker, Module, Result, Store, TypedFunc, bail,
};

type Case = Box<dyn FnMut(u64) -> Result<Duration>>;

/// Answers lines until there are no more.
pub fn serve(build: &Build) -> Result<()> {
    let mut cases: HashMap<String, Case> = HashMap::new();
    served::serve(|line| {
        let Some((name, times)) = line.split_once(' ') else {
            bail!("`{line}` is not the name of a case and a number");
        };
        let times = times.parse::<u64>().with_context(|| format!("`{line}`"))?;
        let case = match cases.get_mut(name) {
            Some(case) => case,
            None => cases.entry(name.into()).or_insert(new(build, name)?),
        };
        Ok(case(times)?.as_nanos().to_string())
    })
}

fn new(build: &Build, name: &str) -> Result<Case> {
    match name {
        "guest_call" => guest_call(build),
        "host_call" => host_call(build, Mode::Baseline),
        "call_async" => call_async(build),
        "store" => store(build),
        "instantiate" => instantiate(build),
        "fib_plain" => fib(build, Mode::Baseline),
        "fib_fuel" => fib(build, Mode::Fuel),
        "fib_epoch" => fib(build, Mode::Epoch),
        "host_call_fuel" => host_call(build, Mode::Fuel),
        "host_call_epoch" => host_call(build, Mode::Epoch),
        "fiber" => fiber::<Called>(),
        "fiber_inlined" => fiber::<Inlined>(),
        _ => bail!("there is no case `{name}`"),
    }
}

fn engine(build: &Build, mode: Mode) -> Result<Engine> {
    let mut config = Config::new();
    (build.configure)(mode, &mut config)?;
    Engine::new(&config)
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = cpu_time();
    run()?;
    Ok(cpu_time() - start)
}

const EMPTY: &str = r#"(module (func (export "run")))"#;

fn empty(build: &Build) -> Result<(Store<()>, TypedFunc<(), ()>)> {
    let engine = engine(build, Mode::Baseline)?;
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, EMPTY)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func(&mut store, "run")?;
    Ok((store, run))
}

/// A call of an empty guest.
fn guest_call(build: &Build) -> Result<Case> {
    let (mut store, run) = empty(build)?;
    Ok(Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                run.call(&mut store, ())?;
            }
            Ok(())
        })
    }))
}

/// The same on a fiber.
fn call_async(build: &Build) -> Result<Case> {
    let (mut store, run) = empty(build)?;
    Ok(Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                let call = pin!(run.call_async(&mut store, ()));
                match call.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => bail!("an empty guest has waited for something"),
                }
            }
            Ok(())
        })
    }))
}

/// A guest's call of an empty host function, in a loop.
fn host_call(build: &Build, mode: Mode) -> Result<Case> {
    let mut store = Store::new(&engine(build, mode)?, ());
    (build.unlimited)(&mut store)?;
    let module = Module::new(
        store.engine(),
        r#"(module
            (import "" "host" (func $host))
            (func (export "run") (param i64)
                (loop
                    (call $host)
                    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
                    (br_if 0 (i64.gt_s (local.get 0) (i64.const 0))))))"#,
    )?;
    let host = Func::wrap(&mut store, || {});
    let instance = Instance::new(&mut store, &module, &[host.into()])?;
    let run = instance.get_typed_func::<i64, ()>(&mut store, "run")?;
    Ok(Box::new(move |times| {
        timed(|| run.call(&mut store, times.try_into()?))
    }))
}

/// Resuming a fiber that suspends at once.
fn fiber<F: Switch>() -> Result<Case> {
    let mut fibers = Fibers::<F>::new(2)?;
    Ok(Box::new(move |times| fibers.switches(times)))
}

/// Making and dropping a store.
fn store(build: &Build) -> Result<Case> {
    let engine = engine(build, Mode::Baseline)?;
    Ok(Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(Store::new(&engine, ()));
            }
            Ok(())
        })
    }))
}

/// Making an instance, with a memory, in a store that has some.
fn instantiate(build: &Build) -> Result<Case> {
    let engine = engine(build, Mode::Baseline)?;
    let module = Module::new(
        &engine,
        r#"(module (memory 1) (func (export "run")) (global (mut i32) i32.const 1))"#,
    )?;
    let pre: InstancePre<()> = Linker::new(&engine).instantiate_pre(&module)?;
    Ok(Box::new(move |times| {
        // A store may have 10,000 instances.
        let mut took = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let some = left.min(100);
            let mut store = Store::new(&engine, ());
            took += timed(|| {
                for _ in 0..some {
                    pre.instantiate(&mut store)?;
                }
                Ok(())
            })?;
            left -= some;
        }
        Ok(took)
    }))
}

/// Recursion, where every call is a check.
fn fib(build: &Build, mode: Mode) -> Result<Case> {
    let engine = engine(build, mode)?;
    let mut store = Store::new(&engine, ());
    let module = Module::new(
        &engine,
        r#"(module
            (func $fib (export "run") (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (local.get 0))
                    (else (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#,
    )?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
    let unlimited = build.unlimited;
    Ok(Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                unlimited(&mut store)?;
                let result = run.call(&mut store, 25)?;
                if result != 75025 {
                    bail!("fib(25) is 75025, and not {result}");
                }
            }
            Ok(())
        })
    }))
}
