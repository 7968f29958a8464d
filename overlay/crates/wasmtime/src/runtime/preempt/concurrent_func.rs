//! Making concurrent host functions. `concurrent.rs` waits for their futures.
//!
//! A sibling's or the embedder's scope would unroot values rooted in such a call's scope. So
//! such a call has no scope, and neither takes nor returns GC references.

use super::concurrent::{BoxFuture, ConcurrentCaller, wait_for};
use super::source::host_call::{End, HostCall};
use super::source::host_return::after_function;
use crate::prelude::*;
use crate::runtime::vm::{
    self, StoreBox, VMArrayCallHostFuncContext, VMContext, VMOpaqueContext, VMStore,
};
use crate::store::{Asyncness, InstanceId};
use crate::type_registry::RegisteredType;
use crate::{
    AsContextMut, Caller, Engine, Func, FuncType, HostFunc, Instance, Linker, ValRaw, ValType,
    WasmRet, WasmTyList,
};
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::NonNull;

/// The state in the host function's context.
struct State<F> {
    func: F,
    // Keeps the type registered for as long as a function of it exists.
    _ty: RegisteredType,
}

/// The entry from Wasm into the host.
///
/// # Safety
///
/// For the context of a function made by [`new_host_func`] with these types, with arguments
/// of its type.
unsafe extern "C" fn trampoline<T, P, R, F>(
    callee_vmctx: NonNull<VMOpaqueContext>,
    caller_vmctx: NonNull<VMContext>,
    args: NonNull<ValRaw>,
    args_len: usize,
) -> bool
where
    T: 'static,
    P: WasmTyList,
    R: WasmRet,
    F: Fn(&ConcurrentCaller<T>, P) -> BoxFuture<'_, R> + Send + Sync + 'static,
{
    let run = |store: &mut dyn VMStore, instance: InstanceId| -> Result<()> {
        // SAFETY: I15. A function of a linker or store of this type is called by its
        // instances only.
        let store = unsafe { store.unchecked_context_mut::<T>() };
        // SAFETY: I15. This function's own contract.
        let state = unsafe {
            VMArrayCallHostFuncContext::from_opaque(callee_vmctx)
                .as_ref()
                .host_state()
        };
        let Some(State { func, .. }) = state.downcast_ref::<State<F>>() else {
            return Err(crate::bug!("a host function of another type").into());
        };
        let instance = Instance::from_wasmtime(instance, store.0);
        let mut caller = Caller {
            store,
            caller: instance,
        };
        let mut args = NonNull::slice_from_raw_parts(args.cast::<MaybeUninit<ValRaw>>(), args_len);
        // SAFETY: I15. They are on the caller's stack, which stays while it waits.
        let args = unsafe { args.as_mut() };
        // SAFETY: I15. They are of the function's type.
        let params = unsafe { HostFunc::load_typed_params::<P>(caller.store.0, args) };
        let accessor = ConcurrentCaller::new(instance);
        let future = func(&accessor, params);
        let result = wait_for(&mut caller, &accessor, future)?;
        // SAFETY: I15. As above.
        unsafe { HostFunc::store_typed_results(caller.store.0, result.into_fallible(), args) }
    };
    // SAFETY: I15. This function's own contract. Nothing is left to be dropped at the end.
    unsafe {
        let call = HostCall::begin(caller_vmctx, End::Suspend);
        let returned = vm::Instance::enter_host_from_wasm(caller_vmctx, run);
        call.end(|| after_function(callee_vmctx, caller_vmctx, args, returned));
        returned
    }
}

fn new_host_func<T, P, R, F>(engine: &Engine, func: F) -> Result<HostFunc>
where
    T: 'static,
    P: WasmTyList,
    R: WasmRet,
    F: Fn(&ConcurrentCaller<T>, P) -> BoxFuture<'_, R> + Send + Sync + 'static,
{
    ensure!(
        !P::may_gc() && !R::may_gc(),
        "a concurrent host function can neither take nor return GC references, which \
         would have to stay rooted while others run: pass numbers instead"
    );
    let ty: FuncType = R::func_type(engine, None::<ValType>.into_iter().chain(P::valtypes()))?;
    // SAFETY: I15. The trampoline is for this state, and the function is `Send` and `Sync`.
    let context: StoreBox<VMArrayCallHostFuncContext> = unsafe {
        VMArrayCallHostFuncContext::new(
            trampoline::<T, P, R, F>,
            ty.type_index(),
            Box::new(State {
                func,
                _ty: ty.into_registered_type(),
            }),
        )?
    };
    Ok(HostFunc::new_raw(engine, context, Asyncness::No))
}

impl<T: 'static> Linker<T> {
    /// Defines a host function that may wait: the calling guest thread is parked meanwhile,
    /// and its siblings run.
    ///
    /// `func` takes the parameters, and returns a future that does not borrow the store. The
    /// future accesses the store through the [`ConcurrentCaller`], which also has
    /// [`sleep`](ConcurrentCaller::sleep) and [`join`](ConcurrentCaller::join). It may wait
    /// for anything else that wakes a [`Waker`], from any OS thread. An executor's own timers
    /// and sockets require a run within that executor.
    ///
    /// If the thread is killed, or the store is dropped, the future is dropped at once.
    ///
    /// In a plain [`call_async`](crate::Func::call_async), a pending future keeps the store,
    /// as with [`Linker::func_wrap_async`]. The future must be ready at once in a synchronous
    /// call, or where a guest thread cannot be parked because a host function has called back
    /// into the guest: otherwise the call fails.
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use std::time::Duration;
    /// # fn main() -> Result<()> {
    /// let mut config = Config::new();
    /// config.preemption(Preemption::Epoch);
    /// let engine = Engine::new(&config)?;
    /// let mut linker = Linker::<u32>::new(&engine);
    /// linker.func_wrap_concurrent("host", "nap", |accessor, (millis,): (u32,)| {
    ///     Box::pin(async move {
    ///         accessor.sleep(Duration::from_millis(millis.into())).await?;
    ///         accessor.with(|mut caller| *caller.data_mut() += 1)
    ///     })
    /// })?;
    /// let module = Module::new(
    ///     &engine,
    ///     r#"(module
    ///         (import "host" "nap" (func $nap (param i32)))
    ///         (func (export "run") (call $nap (i32.const 20))))"#,
    /// )?;
    /// let mut store = Store::new(&engine, 0);
    /// for _ in 0..100 {
    ///     let run = linker.instantiate(&mut store, &module)?.get_func(&mut store, "run");
    ///     store.spawn_wasm_thread(run.unwrap(), &[])?;
    /// }
    /// // All of them sleep at the same time.
    /// let run = store.run_wasm_threads_for(Duration::from_secs(10))?;
    /// assert_eq!(run.end, RunEnd::AllFinished);
    /// assert_eq!(*store.data(), 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the function takes or returns GC references (`externref` and the like), or is
    /// already defined.
    pub fn func_wrap_concurrent<Params, Return, F>(
        &mut self,
        module: &str,
        name: &str,
        func: F,
    ) -> Result<&mut Self>
    where
        Params: WasmTyList,
        Return: WasmRet,
        F: Fn(&ConcurrentCaller<T>, Params) -> Pin<Box<dyn Future<Output = Return> + Send + '_>>
            + Send
            + Sync
            + 'static,
    {
        let func = new_host_func(self.engine(), func)?;
        self.func_insert(module, name, func)
    }
}

impl Func {
    /// As [`Linker::func_wrap_concurrent`], for one store.
    ///
    /// # Errors
    ///
    /// If the function takes or returns GC references.
    pub fn wrap_concurrent<T, Params, Return, F>(
        mut store: impl AsContextMut<Data = T>,
        func: F,
    ) -> Result<Func>
    where
        T: 'static,
        Params: WasmTyList,
        Return: WasmRet,
        F: Fn(&ConcurrentCaller<T>, Params) -> Pin<Box<dyn Future<Output = Return> + Send + '_>>
            + Send
            + Sync
            + 'static,
    {
        let store = store.as_context_mut().0;
        let func = new_host_func(store.engine(), func)?;
        // SAFETY: I15. The store is of the type that the function's accessor is for.
        Ok(unsafe { func.into_func(store)? })
    }
}
