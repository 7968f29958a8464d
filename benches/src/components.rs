//! Subjects: components as guest threads.

use crate::guest::{self, Stacks};
use crate::os::timed;
use crate::paired::Subject;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::preempt::TypedExit;
use wasmtime::{
    Config, Engine, Instance, Module, Preemption, Result, Slice, Store, ThreadOptions, bail,
};

/// A component with a function that is empty, and one that loops.
const COMPONENT: &str = r#"(component
    (core module $m
        (func (export "empty"))
        (func (export "loop") (param $n i64)
            (loop $again
                (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                (br_if $again (i64.ne (local.get $n) (i64.const 0))))))
    (core instance $i (instantiate $m))
    (func (export "empty") (canon lift (core func $i "empty")))
    (func (export "loop") (param "n" u64) (canon lift (core func $i "loop"))))"#;

const MODULE: &str = r#"(module
    (func (export "loop") (param $n i64)
        (loop $again
            (local.set $n (i64.sub (local.get $n) (i64.const 1)))
            (br_if $again (i64.ne (local.get $n) (i64.const 0))))))"#;

/// The names of two subjects to compare.
pub type Pair = [&'static str; 2];

/// An empty call: spawned, run and finished, beside `call_async`, with and without the component
/// model's concurrency.
pub fn calls() -> Result<(Vec<Subject<'static>>, [Pair; 2])> {
    let mut subjects = Vec::new();
    for (concurrency, [thread, call]) in [false, true].into_iter().zip(CALLS) {
        let (mut store, empty) = empty(concurrency)?;
        subjects.push(Subject::new(thread, move |times| {
            Ok(timed(|| threads(&mut store, &empty, times))?.0)
        }));
        let (mut store, empty) = self::empty(concurrency)?;
        subjects.push(Subject::new(call, move |times| {
            Ok(timed(|| (0..times).try_for_each(|_| now(empty.call_async(&mut store, ()))))?.0)
        }));
    }
    Ok((subjects, CALLS))
}

const CALLS: [Pair; 2] = [
    ["component's call as a guest thread", "call_async of it"],
    [
        "component's call as a guest thread, with concurrency",
        "call_async of it, with concurrency",
    ],
];

type Empty = TypedFunc<(), ()>;

fn empty(concurrency: bool) -> Result<(Store<()>, Empty)> {
    let mut config = Config::new();
    config
        .preemption(Preemption::Fuel)
        .concurrency_support(concurrency);
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, ());
    let component = Component::new(&engine, COMPONENT)?;
    let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
    let empty = instance.get_typed_func(&mut store, "empty")?;
    Ok((store, empty))
}

fn threads(store: &mut Store<()>, empty: &Empty, times: u64) -> Result<()> {
    for _ in 0..times {
        let id = ThreadOptions::new().spawn_component_typed(&mut *store, empty, ())?;
        store.run_wasm_threads_for(Duration::MAX)?;
        match id.take_exit(&mut *store) {
            Some(TypedExit::Returned(())) => {}
            exit => bail!("an empty component has ended as {exit:?}"),
        }
    }
    Ok(())
}

fn now<R>(future: impl Future<Output = Result<R>>) -> Result<R> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => bail!("an empty component waits"),
    }
}

pub const PREEMPTED: Pair = ["preempted component", "preempted module"];

/// A preemption: two guests that loop, with slices of a few turns.
pub fn preemptions() -> Result<Vec<Subject<'static>>> {
    // Of which each turn takes a few.
    const SLICE: u64 = 100;
    let engine = guest::engine(Preemption::Fuel, Stacks::OnDemand)?;
    let component = Component::new(&engine, COMPONENT)?;
    let module = Module::new(&engine, MODULE)?;
    let new_store = || -> Result<Store<()>> {
        let mut store = Store::new(&engine, ());
        store.wasm_threads().set_slice(Slice::Fuel(SLICE))?;
        Ok(store)
    };
    let mut store = new_store()?;
    let mut components = Vec::new();
    for _ in 0..2 {
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        components.push(instance.get_typed_func::<(u64,), ()>(&mut store, "loop")?);
    }
    let [preempted_component, preempted_module] = PREEMPTED;
    let of_components = Subject::new(preempted_component, move |times| {
        for func in &components {
            let turns = times.max(1) * SLICE / 8;
            ThreadOptions::new().spawn_component_typed(&mut store, func, (turns,))?;
        }
        Ok(timed(|| store.run_wasm_threads_for(Duration::MAX))?.0)
    });
    let mut store = new_store()?;
    let mut modules = Vec::new();
    for _ in 0..2 {
        let instance = Instance::new(&mut store, &module, &[])?;
        modules.push(instance.get_typed_func::<i64, ()>(&mut store, "loop")?);
    }
    let of_modules = Subject::new(preempted_module, move |times| {
        for func in &modules {
            let turns = i64::try_from(times.max(1) * SLICE / 8)?;
            ThreadOptions::new().spawn_typed(&mut store, func, turns)?;
        }
        Ok(timed(|| store.run_wasm_threads_for(Duration::MAX))?.0)
    });
    Ok(vec![of_components, of_modules])
}
