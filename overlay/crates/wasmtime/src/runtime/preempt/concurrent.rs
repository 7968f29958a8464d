//! Host functions that wait for a future without keeping the store, so that the calling guest
//! thread's siblings can run.
//!
//! The future lives on the thread's fiber and is polled there, whenever the thread is
//! dispatched after a wake. Between polls it does not borrow the store. During a poll, a
//! thread-local leads its [`ConcurrentCaller`] to the store:
//!
//! ```text
//!   fiber of the thread
//!
//!   trampoline -> wait_for: loop {
//!                    POLLED = the store   --> ConcurrentCaller::with -> Caller
//!                    future.poll(thread's waker)
//!                    POLLED = as before
//!                    pending? park()      --> siblings run
//!                 }
//! ```
//!
//! A kill unwinds the fiber, which drops the future in place.
//!
//! A sibling's or the embedder's scope would unroot values rooted in such a call's scope. So
//! such a call has no scope, and neither takes nor returns GC references.

use super::alarm::Alarm;
use super::clock::Moment;
use super::id::ThreadId;
use super::park::{self, Park};
use super::source::host_call::{End, HostCall};
use super::source::host_return::after_function;
use super::spawn::in_lifo_scope;
use super::suspend;
use super::threads::EndWaker;
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
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// Access to the store for the future of a concurrent host function: see
/// [`Linker::func_wrap_concurrent`].
///
/// Such a future does not borrow the store, as others use it while the future is pending.
/// [`ConcurrentCaller::with`] gives access for the duration of a closure.
pub struct ConcurrentCaller<T: 'static> {
    /// The caller.
    caller: Instance,
    _data: PhantomData<fn(&mut T)>,
}

impl<T: 'static> fmt::Debug for ConcurrentCaller<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentCaller").finish_non_exhaustive()
    }
}

/// What the thread-local refers to during a poll.
#[derive(Clone, Copy)]
struct Polled {
    store: NonNull<dyn VMStore>,
    accessor: *const (),
    wishes: NonNull<Wishes>,
}

/// What a pending future wants to be woken for, besides its waker.
#[derive(Default)]
struct Wishes {
    /// The guest thread's waker. `None` outside of its own code.
    waker: Option<Waker>,
    until: Cell<Option<Moment>>,
    joins: RefCell<Vec<ThreadId>>,
}

impl Wishes {
    /// Whether waking the guest thread wakes `cx`.
    fn is_of(&self, cx: &Context<'_>) -> bool {
        let waker = self.waker.as_ref();
        waker.is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    fn wake_at(&self, time: Moment) {
        let until = self.until.get().map_or(time, |until| until.min(time));
        self.until.set(Some(until));
    }
}

std::thread_local! {
    static POLLED: Cell<Option<Polled>> = const { Cell::new(None) };
}

#[inline(never)] // a fiber may resume on another OS thread (I2)
fn replace_polled(polled: Option<Polled>) -> Option<Polled> {
    POLLED.replace(polled)
}

/// Restores the previous `POLLED`.
struct Restore(Option<Polled>);

impl Drop for Restore {
    fn drop(&mut self) {
        replace_polled(self.0);
    }
}

impl<T: 'static> ConcurrentCaller<T> {
    /// Calls `f` with the store, as the host function's caller.
    ///
    /// # Errors
    ///
    /// If this accessor's future is not being polled, or this is called from within such a
    /// closure.
    pub fn with<R>(&self, f: impl FnOnce(Caller<'_, T>) -> R) -> Result<R> {
        self.with_polled(|mut polled| {
            // SAFETY: I15. This accessor's own future is being polled, by the host
            // function of this store, which does not use the store meanwhile, and
            // nobody else can get at it: `POLLED` is empty.
            let mut store = unsafe { polled.store.as_mut().unchecked_context_mut::<T>() };
            let caller = self.caller;
            in_lifo_scope(&mut store, |store| {
                let store = store.as_context_mut();
                f(Caller { store, caller })
            })
        })
    }

    /// Calls `f` with exclusive access to the store.
    fn with_polled<R>(&self, f: impl FnOnce(Polled) -> R) -> Result<R> {
        let restore = Restore(replace_polled(None));
        match restore.0 {
            Some(polled) if ptr::addr_eq(polled.accessor, self) => Ok(f(polled)),
            Some(_) => bail!("an accessor can only be used by the future that it was made for"),
            None => bail!(
                "an accessor can only be used while its future is polled, and not within \
                 `ConcurrentCaller::with`"
            ),
        }
    }

    /// The guest thread that called the host function, or `None` for a plain call.
    ///
    /// # Errors
    ///
    /// As [`ConcurrentCaller::with`].
    pub fn current_thread(&self) -> Result<Option<ThreadId>> {
        self.with(|mut caller| caller.wasm_threads().current())
    }

    /// Waits for `time`.
    ///
    /// # Errors
    ///
    /// As [`ConcurrentCaller::with`].
    pub async fn sleep(&self, time: Duration) -> Result<()> {
        self.sleep_until_moment(Moment::now().saturating_add(time))
            .await
    }

    /// Waits until `end`.
    ///
    /// # Errors
    ///
    /// As [`ConcurrentCaller::with`].
    pub async fn sleep_until(&self, end: Instant) -> Result<()> {
        self.sleep_until_moment(Moment::from_instant(end)).await
    }

    async fn sleep_until_moment(&self, end: Moment) -> Result<()> {
        let mut alarm = None;
        core::future::poll_fn(|cx| {
            if Moment::now() >= end {
                return Poll::Ready(Ok(()));
            }
            let polled = self.with_polled(|polled| {
                // SAFETY: I15. The wishes are of the future that is being polled.
                let wishes = unsafe { polled.wishes.as_ref() };
                if wishes.is_of(cx) {
                    wishes.wake_at(end);
                } else {
                    alarm = Some(Alarm::set(end, cx.waker().clone())?);
                }
                Ok(())
            });
            match polled.flatten() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Waits until guest thread `id` of this store has finished. Returns at once if its exit
    /// was taken.
    ///
    /// # Errors
    ///
    /// If there never was such a thread, it is the waiting thread itself, or this is not a
    /// guest thread. And as [`ConcurrentCaller::with`].
    pub async fn join(&self, id: ThreadId) -> Result<()> {
        let mut at_end: Option<Arc<EndWaker>> = None;
        core::future::poll_fn(|cx| {
            let joined = self.with_polled(|mut polled| {
                // SAFETY: I15. As in `with`.
                let store = unsafe { polled.store.as_mut() };
                let this = store.running_thread().map(|running| running.id);
                let Some((threads, this)) = store.preempt_mut().as_mut().zip(this) else {
                    bail!("only a guest thread can wait for the end of another");
                };
                ensure!(id != this, "guest thread {id} cannot wait for its own end");
                ensure!(
                    threads.was_spawned(id),
                    "no guest thread {id}: it was never spawned in this store"
                );
                if !threads.is_live(id) {
                    return Ok(true);
                }
                // SAFETY: I15. The wishes are of the future that is being polled.
                let wishes = unsafe { polled.wishes.as_ref() };
                if wishes.is_of(cx) {
                    wishes.joins.borrow_mut().push(id);
                } else if let Some(waker) = &at_end {
                    let new = cx.waker().clone();
                    let mut waker = waker.lock().unwrap_or_else(PoisonError::into_inner);
                    let old = core::mem::replace(&mut *waker, new);
                    drop(waker);
                    drop(old);
                } else {
                    let waker = at_end.insert(Arc::new(EndWaker::new(cx.waker().clone())));
                    threads.wake_at_end(id, waker);
                }
                Ok(false)
            });
            match joined.flatten() {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Lets the other ready guest threads go first.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        core::future::poll_fn(|cx| {
            if core::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

/// Polls `future`, made with `accessor`, until it is ready, parking the guest thread in
/// between. A plain asynchronous call keeps the store instead.
fn wait_for<T: 'static, R>(
    caller: &mut Caller<'_, T>,
    accessor: &ConcurrentCaller<T>,
    mut future: BoxFuture<'_, R>,
) -> Result<R> {
    let store = &mut *caller.store.0;
    let mut wishes = Wishes::default();
    loop {
        let own_code = suspend::available(store);
        let waker = if own_code {
            wishes.waker = park::fresh_waker(store);
            wishes.waker.clone()
        } else if store.can_block() {
            let waker = core::future::poll_fn(|cx| Poll::Ready(cx.waker().clone()));
            Some(store.with_blocking(|_, cx| cx.block_on(waker))?)
        } else {
            None
        };
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        let poll = {
            let _restore = Restore(replace_polled(Some(Polled {
                store: store.traitobj(),
                accessor: ptr::from_ref(accessor).cast(),
                wishes: NonNull::from(&wishes),
            })));
            future.as_mut().poll(&mut cx)
        };
        if let Poll::Ready(result) = poll {
            return Ok(result);
        }
        // The future has cloned the waker if it needs it.
        drop(waker);
        wishes.waker = None;
        if own_code {
            let wanted = Park {
                until: wishes.until.take(),
                joins: wishes.joins.take(),
                atomic: None,
            };
            let context = park::take_context(store, "a host function")?;
            park::park(store, context, wanted)?;
        } else if store.can_block() {
            store.with_blocking(|_, cx| cx.suspend(crate::fiber::StoreFiberYield::KeepStore))?;
        } else {
            ensure!(
                store.running_thread().is_some(),
                "a concurrent host function has to wait, which a synchronous call cannot: \
                 spawn a guest thread, or use `call_async`"
            );
            park::take_context(store, "a host function")?;
        }
    }
}

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
        let accessor = ConcurrentCaller {
            caller: instance,
            _data: PhantomData,
        };
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
