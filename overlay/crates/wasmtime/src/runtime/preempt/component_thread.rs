//! Guest threads that call components.
//!
//! The body of such a thread is a synchronous call of the component's function: lower the
//! parameters, call, lift the results, call `post-return`. Its Wasm is the thread's own code,
//! preempted like any other. What is between is host code.

use super::components;
use super::exit::{TypedExit, Values};
use super::id::ThreadId;
use super::options::ThreadOptions;
use super::spawn;
use super::starting::as_host_code;
use crate::component::{
    ComponentInstanceId, ComponentNamedList, Func, Instance, InstancePre, Lift, Lower, TypedFunc,
    Val,
};
use crate::prelude::*;
use crate::store::{Asyncness, StoreId};
use crate::{AsContextMut, StoreContextMut};
use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, PoisonError};

/// A handle to a guest thread that calls a component's function, which returns `Results`. Has all
/// methods of [`ThreadId`].
pub struct ComponentThreadId<Results> {
    id: ThreadId,
    store: StoreId,
    /// What it has returned.
    results: Arc<Mutex<Option<Results>>>,
}

impl<Results> ComponentThreadId<Results> {
    /// The id without the result type.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// Like [`ThreadId::take_exit`], with the results of the function. Also `None` if the store is
    /// not the thread's.
    pub fn take_exit(&self, mut store: impl AsContextMut) -> Option<TypedExit<Results>> {
        let mut store = store.as_context_mut();
        if self.store != store.0.id() {
            return None;
        }
        let exit = store.0.take_owned_exit(self.id)?;
        Some(exit.into_typed(&mut store, |_, _| {
            let results = self.lock().take();
            results.ok_or_else(|| crate::bug!("a component without results").into())
        }))
    }

    fn lock(&self) -> impl core::ops::DerefMut<Target = Option<Results>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Results> Deref for ComponentThreadId<Results> {
    type Target = ThreadId;

    fn deref(&self) -> &ThreadId {
        &self.id
    }
}

impl<Results> fmt::Debug for ComponentThreadId<Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl ThreadOptions {
    /// Spawns a thread that calls `func`, a component's function.
    ///
    /// Nobody else enters the component instance until the call has returned. If another guest
    /// thread is in it, this one waits first. If the call traps or is ended, nobody can enter the
    /// instance any more; other instances of the store can be used.
    ///
    /// Host functions made by `component::LinkerInstance::func_wrap_concurrent` park the thread
    /// while they wait. Those made by `func_wrap_async` keep the store.
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use wasmtime::preempt::TypedExit;
    /// # use std::time::Duration;
    /// # fn main() -> Result<()> {
    /// # let mut config = Config::new();
    /// # config.preemption(Preemption::Fuel);
    /// # let engine = Engine::new(&config)?;
    /// let component = component::Component::new(
    ///     &engine,
    ///     r#"(component
    ///         (core module $m (func (export "answer") (result i32) (i32.const 42)))
    ///         (core instance $i (instantiate $m))
    ///         (func (export "answer") (result u32) (canon lift (core func $i "answer"))))"#,
    /// )?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = component::Linker::new(&engine).instantiate(&mut store, &component)?;
    /// let answer = instance.get_func(&mut store, "answer").unwrap();
    /// let thread = ThreadOptions::new().spawn_component(&mut store, answer, &[])?;
    /// store.run_wasm_threads_for(Duration::MAX)?;
    /// let Some(TypedExit::Returned(values)) = thread.take_exit(&mut store) else { panic!() };
    /// assert_eq!(values, [component::Val::U32(42)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`ThreadOptions::spawn`], but for sharing. Also if `func` is lifted with `async`. The
    /// thread ends with [`TypedExit::Trapped`] if a parameter is not of its type.
    pub fn spawn_component(
        self,
        mut store: impl AsContextMut,
        func: Func,
        params: &[Val],
    ) -> Result<ComponentThreadId<Vec<Val>>> {
        let mut store = store.as_context_mut();
        let instance = ensure_own_sync_function(&store, &func)?;
        let (expected, results) = arity(&store, &func);
        ensure_count(expected, params)?;
        let params = params.to_vec();
        spawn_call(&mut store, self, Some(instance), move |store| {
            call(store, func, &params, results)
        })
    }

    /// Like [`ThreadOptions::spawn_component`], with parameters and results of Rust types.
    ///
    /// # Errors
    ///
    /// As for [`ThreadOptions::spawn_component`].
    pub fn spawn_component_typed<P, R>(
        self,
        mut store: impl AsContextMut,
        func: &TypedFunc<P, R>,
        params: P,
    ) -> Result<ComponentThreadId<R>>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let mut store = store.as_context_mut();
        let instance = ensure_own_sync_function(&store, func.func())?;
        let func = *func;
        spawn_call(&mut store, self, Some(instance), move |store| {
            func.call_impl(store.as_context_mut(), params)
        })
    }

    /// Spawns a thread in its own component instance: it makes the instance, with all that its start
    /// functions do, and calls `started` with it. Then it calls the function that `started`
    /// returns, which must belong to the instance. As [`ThreadOptions::spawn_instance`] for modules.
    ///
    /// `started` is host code, like a host function: no sibling runs meanwhile, whatever it calls.
    ///
    /// # Errors
    ///
    /// As for [`ThreadOptions::spawn`]. The thread ends with [`TypedExit::Trapped`] if the instance
    /// cannot be made, a start function traps, or `started` fails or returns something else.
    pub fn spawn_component_instance<T: 'static>(
        self,
        mut store: impl AsContextMut<Data = T>,
        pre: &InstancePre<T>,
        started: impl FnOnce(StoreContextMut<'_, T>, Instance) -> Result<(Func, Vec<Val>)>
        + Send
        + Sync
        + 'static,
    ) -> Result<ComponentThreadId<Vec<Val>>> {
        let mut store = store.as_context_mut();
        let pre = pre.clone();
        spawn_call(&mut store, self, None, move |store| {
            let instance = instantiate(store, &pre)?;
            let (func, params) =
                as_host_code(store, |store| started(store.as_context_mut(), instance))?;
            let of = ensure_own_sync_function(store, &func)?;
            ensure!(
                of == instance.id().instance(),
                "a guest thread that makes a component instance calls a function of that instance: \
                 this one is of another"
            );
            let (expected, results) = arity(store, &func);
            ensure_count(expected, &params)?;
            call(store, func, &params, results)
        })
    }
}

/// Spawns a thread whose body is `call`, of a function of `instance` if there is one already.
fn spawn_call<T: 'static, R: Send + 'static>(
    store: &mut StoreContextMut<'_, T>,
    options: ThreadOptions,
    instance: Option<ComponentInstanceId>,
    call: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<R> + Send + Sync + 'static,
) -> Result<ComponentThreadId<R>> {
    spawn::ensure_can_spawn(store.0, &options)?;
    store.0.offer_idle_stack();
    let results = Arc::new(Mutex::new(None));
    let returned = results.clone();
    let id = spawn::spawn_fiber(store, options, None, move |store| {
        if let Some(instance) = instance {
            components::wait_to_enter(store.0, instance)?;
        }
        let calling = Calling(store);
        let results = call(calling.0)?;
        let mut returned = returned.lock().unwrap_or_else(PoisonError::into_inner);
        *returned = Some(results);
        calling
            .0
            .0
            .set_thread_results(None, Values::Raw(SmallVec::new()));
        Ok(())
    })?;
    Ok(ComponentThreadId {
        id,
        store: store.0.id(),
        results,
    })
}

/// Cleans up when the thread's call is over, whether it has returned, failed or panicked.
struct Calling<'a, 'b, T: 'static>(&'a mut StoreContextMut<'b, T>);

impl<T> Drop for Calling<'_, '_, T> {
    fn drop(&mut self) {
        // What cannot be deleted stays, in instances that nobody enters any more.
        let abandoned = components::abandon(self.0.0, 0);
        debug_assert!(
            abandoned.is_ok() || std::thread::panicking(),
            "{abandoned:?}"
        );
    }
}

fn instantiate<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    pre: &InstancePre<T>,
) -> Result<Instance> {
    // Its start functions are in it.
    let id = store.0.component_data().next_component_instance_id();
    components::enter(store.0, id)?;
    let instance = pre._instantiate(store.as_context_mut(), Asyncness::No);
    let instance = match pin!(instance).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(instance) => instance?,
        Poll::Pending => bail!(
            "a component cannot be instantiated by a guest thread in a store whose resource \
             limiter waits: use `InstancePre::instantiate_async`, and then \
             `ThreadOptions::spawn_component`"
        ),
    };
    components::leave(store.0, id);
    Ok(instance)
}

fn call<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    func: Func,
    params: &[Val],
    results: usize,
) -> Result<Vec<Val>> {
    let mut values = vec![Val::Bool(false); results];
    func.call_impl(store.as_context_mut(), params, &mut values)?;
    Ok(values)
}

/// How many parameters and results `func` has.
fn arity<T: 'static>(store: &StoreContextMut<'_, T>, func: &Func) -> (usize, usize) {
    let ty = func.ty(store);
    (ty.params().len(), ty.results().len())
}

fn ensure_count(expected: usize, params: &[Val]) -> Result<()> {
    ensure!(
        expected == params.len(),
        "the component's function takes {expected} arguments, not {}",
        params.len()
    );
    Ok(())
}

/// The instance of `func`.
///
/// # Errors
///
/// If that is in another store, or `func` cannot be called synchronously.
fn ensure_own_sync_function<T: 'static>(
    store: &StoreContextMut<'_, T>,
    func: &Func,
) -> Result<ComponentInstanceId> {
    let instance = func.instance.id();
    ensure!(
        instance.store_id() == store.0.id(),
        "cannot spawn a function of another store: a guest thread runs in the store that owns its \
         function"
    );
    ensure!(
        !func.abi_async(store.0),
        "a guest thread cannot call a function that is lifted with `async`, whose tasks take turns \
         by themselves: use `call_async` or `call_concurrent`"
    );
    Ok(instance.instance())
}
