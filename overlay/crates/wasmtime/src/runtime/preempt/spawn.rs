//! Making a guest thread: a fiber whose body is one call of a Wasm function.

use super::blocking;
use super::exit::{OwnedVal, Values};
use super::id::{ThreadId, TypedThreadId};
use super::limits::ThreadLimits;
use super::policy::ThreadParams;
use super::slice::Slice;
use super::typed;
use crate::fiber;
use crate::prelude::*;
use crate::runtime::vm::tls_eager_initialize;
use crate::store::{InstanceId, StoreInner, StoreOpaque};
use crate::{
    AsContextMut, Func, FuncType, StoreContextMut, TypedFunc, Val, ValRaw, WasmParams, WasmResults,
};
use core::ptr::NonNull;
use core::time::Duration;

/// Spawns guest threads with a name, a slice, limits and so on, as
/// [`std::thread::Builder`] does for OS threads.
///
/// ```
/// # use wasmtime::*;
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// # let mut config = Config::new();
/// # config.preemption(Preemption::Fuel);
/// # let engine = Engine::new(&config)?;
/// # let module = Module::new(&engine, r#"(module (func (export "spin") (loop br 0)))"#)?;
/// # let mut store = Store::new(&engine, ());
/// # let instance = Instance::new(&mut store, &module, &[])?;
/// let spin = instance.get_func(&mut store, "spin").unwrap();
/// let id = ThreadOptions::new()
///     .name("spinner")
///     .fuel_limit(1_000_000)
///     .spawn(&mut store, spin, &[])?;
/// store.run_wasm_threads_for(Duration::MAX)?;
/// assert!(matches!(id.take_exit(&mut store), Some(Exit::OverLimit(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ThreadOptions {
    pub(super) name: Option<Box<str>>,
    pub(super) slice: Option<Slice>,
    pub(super) detached: bool,
    /// What most threads have none of.
    pub(super) attributes: Option<Box<Attributes>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) params: ThreadParams,
    pub(super) limits: ThreadLimits,
}

impl ThreadOptions {
    /// No name, the store's slice, and an exit that waits to be taken.
    pub fn new() -> ThreadOptions {
        ThreadOptions::default()
    }

    fn attributes(&mut self) -> &mut Attributes {
        self.attributes.get_or_insert_default()
    }

    /// Names the thread, for [`ThreadInfo::name`](crate::preempt::ThreadInfo::name).
    /// Names need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Gives the thread a slice of its own, which later changes of the store's
    /// do not touch.
    pub fn slice(mut self, slice: Slice) -> Self {
        self.slice = Some(slice);
        self
    }

    /// Its share of the CPU relative to others', for a
    /// [`ThreadScheduler`](crate::preempt::ThreadScheduler) that looks at it. 1 by default.
    pub fn weight(mut self, weight: u32) -> Self {
        self.attributes().params.weight = weight;
        self
    }

    /// Those with a higher priority go first, for a
    /// [`ThreadScheduler`](crate::preempt::ThreadScheduler) that looks at it. 0 by default.
    pub fn priority(mut self, priority: i32) -> Self {
        self.attributes().params.priority = priority;
        self
    }

    /// The group that the thread is of: it shares the
    /// [limits](super::WasmThreads::set_group_limits) of the group, and perhaps its
    /// share of the CPU. 0, the default, for none.
    pub fn group(mut self, group: u64) -> Self {
        self.attributes().params.group = group;
        self
    }

    /// How soon the thread should be done after it was spawned or woken, in ticks
    /// (nanoseconds, or units of fuel), for a
    /// [`ThreadScheduler`](crate::preempt::ThreadScheduler) that looks at it. None by default,
    /// and not a limit.
    pub fn deadline(mut self, ticks: u64) -> Self {
        self.attributes().params.deadline = Some(ticks);
        self
    }

    /// What the thread may use in all.
    pub fn limits(mut self, limits: ThreadLimits) -> Self {
        self.attributes().limits = limits;
        self
    }

    /// [`ThreadLimits::cpu_time`].
    pub fn cpu_limit(mut self, time: Duration) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.cpu_time(time);
        self
    }

    /// [`ThreadLimits::fuel`].
    pub fn fuel_limit(mut self, units: u64) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.fuel(units);
        self
    }

    /// [`ThreadLimits::wall_time`].
    pub fn timeout(mut self, time: Duration) -> Self {
        let limits = &mut self.attributes().limits;
        *limits = limits.wall_time(time);
        self
    }

    /// Whether the thread is forgotten as soon as it ends, however that is.
    ///
    /// Otherwise, which is the default, it counts against
    /// [`WasmThreads::set_max_threads`](super::WasmThreads::set_max_threads) until its
    /// exit is taken.
    pub fn detached(mut self, detached: bool) -> Self {
        self.detached = detached;
        self
    }

    /// Spawns a thread that calls `func` with `params`.
    ///
    /// # Errors
    ///
    /// As [`Store::spawn_wasm_thread`](crate::Store::spawn_wasm_thread), and if the slice is
    /// one that [`WasmThreads::set_slice`](super::WasmThreads::set_slice) would refuse, a
    /// limit is zero, or one of fuel is asked of an engine that does not count fuel.
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

    /// As [`ThreadOptions::spawn`], with parameters and results whose types are known to
    /// Rust.
    ///
    /// # Errors
    ///
    /// As [`ThreadOptions::spawn`].
    pub fn spawn_typed<P, R>(
        self,
        mut store: impl AsContextMut,
        func: &TypedFunc<P, R>,
        params: P,
    ) -> Result<TypedThreadId<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        typed::spawn(&mut store.as_context_mut(), func, params, self)
    }
}

/// What a guest thread is to call.
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
    }
    threads.ensure_room(stack_size)
}

pub(super) const NO_STACK: &str = "cannot allocate a stack for a guest thread; fewer \
     threads, a smaller `Config::async_stack_size` (and `Config::max_wasm_stack`) or, with \
     the pooling allocator, a larger `total_stacks` would help";

/// Makes a guest thread of `body`, which is in the instance `owner` if that has what no
/// two may use.
pub(super) fn spawn_fiber<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    options: ThreadOptions,
    owner: Option<InstanceId>,
    body: impl FnOnce(&mut StoreContextMut<'_, T>) -> Result<()> + Send + Sync + 'static,
) -> Result<ThreadId> {
    store.0.ensure_signals_reach_all_code()?;
    store.0.ensure_mappings()?;
    // What this OS thread needs to run guests takes mappings, too.
    tls_eager_initialize();
    let body = move |store: &mut StoreInner<T>| {
        StoreContextMut(store).with_blocking(|mut store, context| {
            blocking::with_context(context, || body(&mut store))
        })
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
    /// A call of `func`, whose type is `ty`, with parameters of that type.
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
    /// If `func` is not of `store`, or `params` are not what it takes.
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

    /// Makes the call, on the fiber of the thread.
    pub(super) fn run<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Result<()> {
        let func = self.func;
        let results = self.call(store)?;
        store.0.set_thread_results(func, results);
        Ok(())
    }

    fn call<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Result<Values> {
        // Parameters stay rooted until the function has them: a call hook may collect
        // garbage before that.
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

/// Unroots what `f` roots. Nothing in `f` may suspend: the scopes of two threads
/// would overlap.
pub(super) fn in_lifo_scope<T: 'static, R>(
    store: &mut StoreContextMut<'_, T>,
    f: impl FnOnce(&mut StoreContextMut<'_, T>) -> R,
) -> R {
    let scope = store.0.enter_gc_lifo_scope();
    let result = f(store);
    store.0.exit_gc_lifo_scope(scope);
    result
}
