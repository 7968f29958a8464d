//! Makes every synchronous call of a function a guest thread, for upstream's tests. Part of the
//! library that they are compiled with: see conformance/upstream.rs of xtask.
//!
//! The thread has the shortest useful slices. Beside it runs another one, which never returns: a
//! component beside a component, a module beside a module. The environment variable `GUEST_CALLS`
//! says what preempts them; without it, calls are plain ones.
//!
//! Calls by host functions are left to the thread that has called these.

use super::super::run::run_for;
use super::super::slice::{Preemption, Slice};
use super::*;
use crate::component::{Component, Linker};
use crate::runtime::vm::tls as activations;
use core::time::Duration;
use std::mem;

const SPINNER: &str = r#"(component
    (core module $m (func (export "spin") (loop br 0)))
    (core instance $i (instantiate $m))
    (func (export "spin") (canon lift (core func $i "spin"))))"#;

const CORE_SPINNER: &str = r#"(module (func (export "spin") (loop br 0)))"#;

/// How long a run goes on at most after the call has returned.
const RUN: Duration = Duration::from_micros(200);

/// The preemption source of all engines.
pub(crate) fn preemption() -> Option<Preemption> {
    let source = std::env::var("GUEST_CALLS").ok()?;
    Some(match &*source {
        "fuel" => Preemption::Fuel,
        "epoch" => Preemption::Epoch,
        "signal" => Preemption::Signal,
        _ => panic!("no preemption source `{source}`"),
    })
}

/// `call`, which calls `func`, on a guest thread.
pub(crate) fn call<T: 'static, R>(
    mut store: StoreContextMut<'_, T>,
    func: &Func,
    call: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<R>,
) -> Result<R> {
    let is_own = func.instance.id().store_id() == store.0.id();
    if !is_own || func.abi_async(store.0) {
        return call(&mut store);
    }
    let instance = func.instance.id().instance();
    on_thread(store, Some(instance), spawn_spinner, call)
}

/// `call`, which calls a function of a module, on a guest thread.
pub(crate) fn call_core<T: 'static, R>(
    store: StoreContextMut<'_, T>,
    call: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<R>,
) -> Result<R> {
    on_thread(store, None, spawn_core_spinner, call)
}

fn on_thread<T: 'static, R>(
    mut store: StoreContextMut<'_, T>,
    instance: Option<ComponentInstanceId>,
    spawn_spinner: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<()>,
    call: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<R>,
) -> Result<R> {
    let Some(preemption) = store.engine().config().preemption else {
        return call(&mut store);
    };
    if activations::with(|activation| activation.is_some()) {
        return call(&mut store);
    }
    if store.wasm_threads().is_empty() {
        store.wasm_threads().set_slice(match preemption {
            Preemption::Fuel => Slice::Fuel(100),
            _ => Slice::Time(Duration::from_micros(50)),
        })?;
        spawn_spinner(&mut store)?;
    }

    let mut returned = None;
    let body = |store: &mut StoreContextMut<'_, T>| {
        returned = Some(call(store)?);
        Ok(())
    };
    let body: Box<Body<'_, T>> = Box::new(body);
    // SAFETY: I10. What it borrows is there until this function returns, and `Ended` ends the
    // thread before.
    let body: Box<Body<'static, T>> = unsafe { mem::transmute(body) };
    let body = Unchecked(body);
    let thread = spawn_call(&mut store, ThreadOptions::new(), instance, |store| {
        body.into_inner()(store)
    })?;
    let ended = Ended(&mut store, thread.id());
    while is_live(ended.0, thread.id()) {
        run_for(ended.0.0, RUN)?;
    }
    drop(ended);
    match thread.take_exit(&mut store) {
        Some(TypedExit::Returned(())) => match returned {
            Some(results) => Ok(results),
            None => bail!("a guest thread without results"),
        },
        Some(TypedExit::Trapped(error)) => Err(error),
        exit => bail!("a guest thread has ended as {exit:?}"),
    }
}

type Body<'a, T> = dyn FnOnce(&mut StoreContextMut<'_, T>) -> Result<()> + 'a;

/// The tests are not what decides whether this is `Send`: the thread runs on its caller's OS
/// thread.
struct Unchecked<F>(F);

impl<F> Unchecked<F> {
    fn into_inner(self) -> F {
        self.0
    }
}

// SAFETY: I10. `call` spawns, runs and ends the thread.
unsafe impl<F> Send for Unchecked<F> {}
// SAFETY: I10, as above.
unsafe impl<F> Sync for Unchecked<F> {}

/// Ends the thread, if a panic of a host function has not.
struct Ended<'a, 'b, T: 'static>(&'a mut StoreContextMut<'b, T>, ThreadId);

impl<T: 'static> Drop for Ended<'_, '_, T> {
    fn drop(&mut self) {
        if is_live(self.0, self.1) {
            self.1.kill(&mut *self.0).unwrap();
        }
    }
}

fn is_live<T: 'static>(store: &StoreContextMut<'_, T>, id: ThreadId) -> bool {
    store.0.preempt().is_some_and(|threads| threads.is_live(id))
}

fn spawn_spinner<T: 'static>(store: &mut StoreContextMut<'_, T>) -> Result<()> {
    let engine = store.engine().clone();
    let component = Component::new(&engine, SPINNER)?;
    let instance = Linker::new(&engine).instantiate(&mut *store, &component)?;
    let spin = instance.get_typed_func::<(), ()>(&mut *store, "spin")?;
    ThreadOptions::new().spawn_component_typed(&mut *store, &spin, ())?;
    Ok(())
}

fn spawn_core_spinner<T: 'static>(store: &mut StoreContextMut<'_, T>) -> Result<()> {
    let module = crate::Module::new(store.engine(), CORE_SPINNER)?;
    let instance = crate::Instance::new(&mut *store, &module, &[])?;
    let spin = instance.get_func(&mut *store, "spin");
    let spin = spin.ok_or_else(|| crate::bug!("no function `spin`"))?;
    ThreadOptions::new().spawn(&mut *store, spin, &[])?;
    Ok(())
}
