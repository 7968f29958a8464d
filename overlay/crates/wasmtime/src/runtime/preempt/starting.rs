//! Instances that start on a guest thread.
//!
//! Starting an instance runs guest code: the start function, and code that sets up globals and
//! segments. `Instance::new` makes that a plain call, which nothing preempts. Here the thread
//! that will use the instance starts it:
//!
//! ```text
//!   spawn_instance:  make the instance, not reachable yet
//!        |
//!        v  on the thread
//!   its startup function, and `_initialize` of a reactor
//!        |
//!        v
//!   the embedder's closure ---> the function that it returns
//! ```

use super::id::ThreadId;
use super::options::ThreadOptions;
use super::spawn::{self, Call, in_lifo_scope};
use super::suspend;
use crate::prelude::*;
use crate::runtime::vm::VMStore;
use crate::{AsContextMut, Func, Instance, InstancePre, StoreContextMut, Val};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// Sets up a WASI reactor.
const INITIALIZE: &str = "_initialize";

/// Runs a WASI command, which is no reactor, whatever else it exports.
const START: &str = "_start";

impl ThreadOptions {
    /// Spawns a thread in its own instance. The thread first starts the instance, making it what
    /// [`InstancePre::instantiate`] returns. If the instance exports `_initialize`, without
    /// parameters and results, and no `_start`, it is a WASI reactor, and the thread calls that
    /// function, as [`Linker::module`](crate::Linker::module) does. Then the thread calls
    /// `started` with the instance, and then the function that `started` returns, which must
    /// belong to the instance.
    ///
    /// So start functions and `_initialize` are preempted, limited and killed like all other
    /// guest code. Nothing interrupts them in `instantiate`: use this method for untrusted
    /// guests.
    ///
    /// `started` is host code, like a host function: no sibling runs meanwhile, whatever it
    /// calls. Not supported with [`Config::coredump_on_trap`](crate::Config::coredump_on_trap).
    ///
    /// ```
    /// # use wasmtime::*;
    /// # use std::time::Duration;
    /// # fn main() -> Result<()> {
    /// # let mut config = Config::new();
    /// # config.preemption(Preemption::Fuel);
    /// # let engine = Engine::new(&config)?;
    /// let module = Module::new(
    ///     &engine,
    ///     r#"(module
    ///         (func $for_ever (loop br 0))
    ///         (start $for_ever)
    ///         (func (export "main")))"#,
    /// )?;
    /// let pre = Linker::new(&engine).instantiate_pre(&module)?;
    /// let mut store = Store::new(&engine, ());
    /// let options = ThreadOptions::new().fuel_limit(1_000_000);
    /// let id = options.spawn_instance(&mut store, &pre, |mut store, instance| {
    ///     let main = instance.get_typed_func::<(), ()>(&mut store, "main")?;
    ///     Ok((*main.func(), vec![]))
    /// })?;
    /// store.run_wasm_threads_for(Duration::MAX)?;
    /// assert!(matches!(id.take_exit(&mut store), Some(Exit::OverLimit(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`InstancePre::instantiate`], but for what the start function does, and
    /// as for [`ThreadOptions::spawn`]. The thread ends with
    /// [`Exit::Trapped`](crate::Exit::Trapped) if the start function or `_initialize` traps,
    /// `started` fails, or its function belongs to another instance or takes other parameters.
    pub fn spawn_instance<T: 'static>(
        self,
        mut store: impl AsContextMut<Data = T>,
        pre: &InstancePre<T>,
        started: impl FnOnce(StoreContextMut<'_, T>, Instance) -> Result<(Func, Vec<Val>)>
        + Send
        + Sync
        + 'static,
    ) -> Result<ThreadId> {
        let mut store = store.as_context_mut();
        store.wasm_threads().ensure_can_spawn(&self)?;
        #[cfg(feature = "coredump")]
        ensure!(
            !store.0.engine().config().coredump_on_trap,
            "an instance cannot be spawned with `Config::coredump_on_trap`: a sibling's core \
             dump would show it before it has started; use `InstancePre::instantiate`, and then \
             `Store::spawn_wasm_thread`"
        );
        let instance = unstarted(&mut store, pre)?;
        let id = instance.id.instance();
        let owner = store.0.ensure_instance_shares_nothing(id)?;
        spawn::spawn_fiber(&mut store, self, owner, move |store| {
            if instance.id.get_mut(store.0).needs_startup() {
                instance.start_raw(store)?;
            }
            initialize(store, instance)?;
            let call = as_host_code(store, |store| {
                // What the closure returns stays rooted until the call has it.
                in_lifo_scope(store, |store| {
                    let (func, params) = started(store.as_context_mut(), instance)?;
                    let call = Call::checked(store.0, func, &params)?;
                    ensure!(
                        store.0.is_of_instance(func, id),
                        "a guest thread that starts an instance calls a function of that \
                         instance: this one is of another, or of the host"
                    );
                    Ok(call)
                })
            });
            call?.run(store)
        })
    }
}

/// Calls `f`, the embedder's, on the thread's stack. Guest code that it calls is not the thread's own
/// (I1).
pub(super) fn as_host_code<T: 'static, R>(
    store: &mut StoreContextMut<'_, T>,
    f: impl FnOnce(&mut StoreContextMut<'_, T>) -> R,
) -> R {
    let not_suspended = suspend::take(store.0);
    let outer = store.0.replace_in_host(1);
    let result = f(store);
    store.0.replace_in_host(outer);
    drop(not_suspended);
    store.0.end_overdue_slice();
    result
}

fn initialize<T: 'static>(store: &mut StoreContextMut<'_, T>, instance: Instance) -> Result<()> {
    if instance.get_export(&mut *store, START).is_some() {
        return Ok(());
    }
    let Ok(function) = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE) else {
        return Ok(());
    };
    Call::checked(store.0, *function.func(), &[])?.run(store)
}

/// An instance whose startup function has not been called. Nobody may use it until that has
/// returned.
fn unstarted<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    pre: &InstancePre<T>,
) -> Result<Instance> {
    let imports = pre.imports(store.0)?;
    let (mut limiter, store) = store.0.resource_limiter_and_store_opaque();
    // SAFETY: I18. The imports were checked against this module when `pre` was made.
    let instance =
        unsafe { Instance::new_raw(store, limiter.as_mut(), pre.module(), imports.as_ref()) };
    match pin!(instance).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(instance) => instance,
        Poll::Pending => bail!(
            "an instance cannot be spawned in a store whose resource limiter waits: use \
             `InstancePre::instantiate_async`, and then `Store::spawn_wasm_thread`"
        ),
    }
}
