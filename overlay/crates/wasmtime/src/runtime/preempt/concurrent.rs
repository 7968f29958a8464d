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

use super::alarm::Alarm;
use super::clock::Moment;
use super::id::ThreadId;
use super::park::{self, Park};
use super::spawn::in_lifo_scope;
use super::suspend;
use super::threads::EndWaker;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContextMut, Caller, Instance};
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

pub(super) type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// Access to the store for the future of a concurrent host function: see
/// [`Linker::func_wrap_concurrent`](crate::Linker::func_wrap_concurrent).
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
    /// For a call from `caller`.
    pub(super) fn new(caller: Instance) -> ConcurrentCaller<T> {
        ConcurrentCaller {
            caller,
            _data: PhantomData,
        }
    }

    /// Calls `f` with the store, as the host function's caller.
    ///
    /// # Errors
    ///
    /// If this caller's future is not being polled, or this is called from within such a
    /// closure.
    pub fn with<R>(&self, f: impl FnOnce(Caller<'_, T>) -> R) -> Result<R> {
        self.with_polled(|mut polled| {
            // SAFETY: I15. This caller's own future is being polled, by the host
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
            Some(_) => {
                bail!("a `ConcurrentCaller` can only be used by the future that it was made for")
            }
            None => bail!(
                "a `ConcurrentCaller` can only be used while its future is polled, and not within \
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
        let now = self.with(|caller| caller.store.0.now_for_waits())?;
        self.sleep_until_moment(now.saturating_add(time)).await
    }

    /// Waits until `end`. With a
    /// [virtual clock](crate::preempt::WasmThreads::set_virtual_clock), waits on that for as
    /// long as it is until `end` by the OS's clock.
    ///
    /// # Errors
    ///
    /// As [`ConcurrentCaller::with`].
    pub async fn sleep_until(&self, end: Instant) -> Result<()> {
        let end = Moment::from_instant(end);
        match self.with(|caller| caller.store.0.virtual_now())? {
            Some(now) => {
                let left = end.left(Moment::now());
                self.sleep_until_moment(now.saturating_add(left)).await
            }
            None => self.sleep_until_moment(end).await,
        }
    }

    async fn sleep_until_moment(&self, end: Moment) -> Result<()> {
        let mut alarm: Option<(Moment, Alarm)> = None;
        core::future::poll_fn(|cx| {
            let polled = self.with_polled(|mut polled| {
                // SAFETY: I15. As in `with`.
                let store = unsafe { polled.store.as_mut() };
                let now = store.now_for_waits();
                if now >= end {
                    return Ok(true);
                }
                // SAFETY: I15. The wishes are of the future that is being polled.
                let wishes = unsafe { polled.wishes.as_ref() };
                if wishes.is_of(cx) {
                    wishes.wake_at(end);
                    return Ok(false);
                }
                // Whoever polls this knows of no virtual clock.
                let by_os = Moment::now();
                let at = alarm.as_ref().map(|(at, _)| *at);
                let at = at.unwrap_or_else(|| by_os.saturating_add(end.left(now)));
                if by_os >= at {
                    store.skip_for_waits(end);
                    return Ok(true);
                }
                alarm = Some((at, Alarm::set(at, cx.waker().clone())?));
                Ok(false)
            });
            match polled.flatten() {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => Poll::Pending,
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
pub(super) fn wait_for<T: 'static, R>(
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
                ..Park::default()
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
