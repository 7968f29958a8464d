//! Making a guest thread: a fiber whose body is one call to a Wasm function.

use super::exit::{OwnedVal, Values};
use super::id::ThreadId;
use super::options::ThreadOptions;
use super::stacks::NO_STACK;
use super::suspend;
use crate::fiber;
use crate::prelude::*;
use crate::runtime::vm::tls_eager_initialize;
use crate::store::{InstanceId, StoreInner, StoreOpaque};
use crate::{AsContextMut, Func, FuncType, StoreContextMut, Val, ValRaw};
use core::ptr::NonNull;

impl ThreadOptions {
    /// Spawns a thread that calls `func` with `params`.
    ///
    /// # Errors
    ///
    /// The same as for [`Store::spawn_wasm_thread`](crate::Store::spawn_wasm_thread). Also if
    /// [`WasmThreads::set_slice`](super::WasmThreads::set_slice) would refuse the slice, a limit
    /// is zero, or there is a fuel limit but the engine does not count fuel.
    pub fn spawn(
        self,
        mut store: impl AsContextMut,
        func: Func,
        params: &[Val],
    ) -> Result<ThreadId> {
        let mut store = store.as_context_mut();
        let call = Call::checked(store.0, func, params)?;
        spawn(&mut store, call, self)
    }
}

/// The call that a guest thread makes.
pub(super) struct Call {
    func: Func,
    params: Values,
    results: usize,
    raw_results: bool,
}

pub(super) fn spawn<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    call: Call,
    options: ThreadOptions,
) -> Result<ThreadId> {
    ensure_can_spawn(store.0, &options)?;
    let owner = store.0.ensure_nothing_is_shared(call.func)?;
    store.0.offer_idle_stack();
    spawn_fiber(store, options, owner, move |store| call.run(store))
}

/// # Errors
///
/// If no thread can be spawned with these options, whatever it calls.
pub(super) fn ensure_can_spawn(store: &mut StoreOpaque, options: &ThreadOptions) -> Result<()> {
    let fuel_is_counted = store.engine().tunables().consume_fuel;
    let stack_size = store.engine().config().async_stack_size;
    let threads = store.preemptive_threads()?;
    if let Some(slice) = options.slice {
        slice.validate(threads.preemption)?;
    }
    if let Some(attributes) = &options.attributes {
        attributes.params.validate()?;
        attributes.limits.validate(fuel_is_counted, false)?;
        ensure!(
            attributes.tenant.is_none() || !threads.clock_is_virtual(),
            "a tenant's CPU rate goes by the OS's clock, and this store has a virtual one: use \
             `ThreadLimits::cpu_rate` for a thread or a group"
        );
    }
    threads.ensure_room(stack_size)
}

/// Makes a guest thread that runs `body`. `owner` is its instance, if that has state that no two
/// threads may share.
pub(super) fn spawn_fiber<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    options: ThreadOptions,
    owner: Option<InstanceId>,
    body: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<()> + Send + Sync + 'static,
) -> Result<ThreadId> {
    store.0.ensure_mappings()?;
    // This OS thread's own setup for running guests takes mappings, too.
    tls_eager_initialize();
    let body = move |store: &mut StoreInner<T>| {
        StoreContextMut(store)
            .with_blocking(|mut store, context| suspend::with_context(context, || body(&mut store)))
    };
    // SAFETY: I10. The fiber is `Send` if the store is: it is kept in the store
    // that it was made for, which drops it before it drops itself.
    let fiber = unsafe { fiber::make_fiber_unchecked(&mut *store.0, body) }.context(NO_STACK)?;

    let id = store
        .0
        .preemptive_threads()?
        .insert(Box::new(fiber), options, owner);
    store.0.running_is_alone_no_more();
    Ok(id)
}

impl Call {
    /// A call to `func`, whose type is `ty`, with parameters of that type.
    pub(super) fn new(func: Func, ty: &FuncType, params: Values) -> Call {
        Call {
            func,
            params,
            results: ty.results().len(),
            raw_results: Values::are_raw(ty.results()),
        }
    }

    /// # Errors
    ///
    /// If `func` belongs to another store, or `params` do not match its type.
    pub(super) fn checked(store: &mut StoreOpaque, func: Func, params: &[Val]) -> Result<Call> {
        ensure_own_function(store, &func)?;
        let ty = func.load_ty(store);
        ensure!(
            ty.params().len() == params.len(),
            "cannot spawn a function of type {ty}: expected {} arguments, got {}",
            ty.params().len(),
            params.len(),
        );
        let params = ty
            .params()
            .zip(params)
            .enumerate()
            .map(|(i, (ty, param))| {
                param
                    .ensure_matches_ty(store, &ty)
                    .and_then(|()| OwnedVal::new(store, param))
                    .with_context(|| format!("argument {i} of the guest thread must be a {ty}"))
            })
            .collect::<Result<_>>()?;
        Ok(Call::new(func, &ty, Values::Owned(params)))
    }

    /// Makes the call, on the thread's fiber.
    pub(super) fn run<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Result<()> {
        let func = self.func;
        let results = self.call(store)?;
        store.0.set_thread_results(Some(func), results);
        Ok(())
    }

    fn call<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Result<Values> {
        // Parameters stay rooted until the function has them: a call hook may collect garbage
        // first.
        let mut raw = match &self.params {
            Values::Raw(raw) => raw.clone(),
            Values::Owned(params) => in_lifo_scope(store, |store| {
                let raw = |param: &OwnedVal| param.to_val(store.0).to_raw(&mut *store);
                params.iter().map(raw).collect::<Result<_>>()
            })?,
        };
        if raw.len() < self.results {
            raw.resize(self.results, ValRaw::v128(0));
        }

        let func = self.func.vm_func_ref(store.0);
        // SAFETY: I11. `func` belongs to this store, the parameters are of its
        // types, and `raw` has room for them and for the results.
        unsafe { Func::call_unchecked_raw(store, func, NonNull::from(&mut raw[..]))? };

        raw.truncate(self.results);
        if self.raw_results {
            return Ok(Values::Raw(raw));
        }
        let ty = self.func.load_ty(store.0);
        in_lifo_scope(store, |store| {
            let own = |(ty, raw): (_, &ValRaw)| {
                // SAFETY: I11. The function has just returned a value of this
                // type here.
                let val = unsafe { Val::from_raw(store.as_context_mut(), *raw, ty) };
                OwnedVal::new(store.0, &val)
            };
            let values = ty.results().zip(&raw).map(own).collect::<Result<_>>()?;
            Ok(Values::Owned(values))
        })
    }
}

pub(super) fn ensure_own_function(store: &StoreOpaque, func: &Func) -> Result<()> {
    ensure!(
        func.comes_from_same_store(store),
        "cannot spawn a function of another store: a guest thread runs in the \
         store that owns its function"
    );
    Ok(())
}

/// Unroots what `f` roots. `f` must not suspend: the scopes of two threads would overlap.
pub(super) fn in_lifo_scope<T: 'static, R>(
    store: &mut StoreContextMut<'_, T>,
    f: impl FnOnce(&mut StoreContextMut<'_, T>) -> R,
) -> R {
    let scope = store.0.enter_gc_lifo_scope();
    let result = f(store);
    store.0.exit_gc_lifo_scope(scope);
    result
}
