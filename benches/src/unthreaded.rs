//! What a `Store` costs that spawns no guest thread. Compiled into two binaries:
//! one with the patched Wasmtime, one with the published one. See
//! `beside_stock.rs` for the other end of the pipe.
//!
//! Each line of standard input is the name of a case and a number of times, and
//! is answered by a line with the nanoseconds of CPU time that it took to do it so
//! often.

use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::io::{BufRead, Write, stdin, stdout};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::{
    Config, Engine, Func, Instance, InstancePre, Linker, Module, Result, Store, TypedFunc, bail,
};

/// How this build of Wasmtime is told to interrupt guests.
pub struct Build {
    pub fuel: fn(&mut Config),
    pub epoch: fn(&mut Config),
    /// Lets plain calls run for as long as they want.
    pub unlimited: fn(&mut Store<()>) -> Result<()>,
}

type Case = Box<dyn FnMut(u64) -> Result<Duration>>;

/// Answers lines until there are no more.
pub fn serve(build: &Build) -> Result<()> {
    let mut cases: HashMap<String, Case> = HashMap::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let Some((name, times)) = line.split_once(' ') else {
            bail!("`{line}` is not the name of a case and a number");
        };
        let times = times.parse()?;
        let case = match cases.get_mut(name) {
            Some(case) => case,
            None => cases.entry(name.into()).or_insert(new(build, name)?),
        };
        let took = case(times)?;
        writeln!(stdout(), "{}", took.as_nanos())?;
    }
    Ok(())
}

fn new(build: &Build, name: &str) -> Result<Case> {
    let plain = |_: &mut Config| {};
    match name {
        "guest_call" => guest_call(plain),
        "host_call" => host_call(plain),
        "call_async" => call_async(plain),
        "store" => store(),
        "instantiate" => instantiate(),
        "fib_plain" => fib(build, plain),
        "fib_fuel" => fib(build, build.fuel),
        "fib_epoch" => fib(build, build.epoch),
        "host_call_fuel" => host_call_unlimited(build, build.fuel),
        "host_call_epoch" => host_call_unlimited(build, build.epoch),
        _ => bail!("there is no case `{name}`"),
    }
}

fn engine(configure: impl Fn(&mut Config)) -> Result<Engine> {
    let mut config = Config::new();
    configure(&mut config);
    Engine::new(&config)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = cpu_time();
    run()?;
    Ok(cpu_time() - start)
}

const EMPTY: &str = r#"(module (func (export "run")))"#;

fn empty(engine: &Engine) -> Result<(Store<()>, TypedFunc<(), ()>)> {
    let mut store = Store::new(engine, ());
    let module = Module::new(engine, EMPTY)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func(&mut store, "run")?;
    Ok((store, run))
}

/// A call of an empty guest.
fn guest_call(configure: impl Fn(&mut Config)) -> Result<Case> {
    let (mut store, run) = empty(&engine(configure)?)?;
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
fn call_async(configure: impl Fn(&mut Config)) -> Result<Case> {
    let (mut store, run) = empty(&engine(configure)?)?;
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
fn host_call(configure: impl Fn(&mut Config)) -> Result<Case> {
    host_call_in(Store::new(&engine(configure)?, ()))
}

fn host_call_unlimited(build: &Build, configure: fn(&mut Config)) -> Result<Case> {
    let mut store = Store::new(&engine(configure)?, ());
    (build.unlimited)(&mut store)?;
    host_call_in(store)
}

fn host_call_in(mut store: Store<()>) -> Result<Case> {
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

/// Making and dropping a store.
fn store() -> Result<Case> {
    let engine = engine(|_| {})?;
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
fn instantiate() -> Result<Case> {
    let engine = engine(|_| {})?;
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
fn fib(build: &Build, configure: impl Fn(&mut Config)) -> Result<Case> {
    let engine = engine(configure)?;
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
