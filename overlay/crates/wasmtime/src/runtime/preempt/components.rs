//! Component instances and the guest threads in them: what upstream's files ask.
//!
//! A component instance is like a monitor. The model lets no second call in while one is on its
//! stack, and a preempted call is on its stack. So a thread has a component instance to itself from
//! where it enters it to where it leaves it:
//!
//! | who wants in meanwhile | what happens |
//! |---|---|
//! | a guest thread, with its first call | it is parked until the instance is free |
//! | a host function, for another guest thread | `Trap::CannotEnterComponent` |
//! | the embedder, between two runs | `Trap::CannotEnterComponent` |
//!
//! A call that traps, is killed or is otherwise ended leaves its instance in the middle of
//! something: nobody enters that any more. Upstream marks the whole store instead, which would let
//! one guest end all others. Instances that were not entered are not affected.
//!
//! What an ended call leaves in the store is deleted: its tasks, and its hold on what it has
//! borrowed. Handles in the instance's own tables stay until the store is dropped, as does the
//! instance.

use super::id::ThreadId;
use super::park::{self, Park};
use super::suspend;
use crate::Trap;
use crate::component::ComponentInstanceId;
use crate::prelude::*;
use crate::runtime::vm::{VMStore, tls};
use crate::store::StoreOpaque;
use core::mem;
use core::ptr;
use core::task::Waker;
use std::collections::{HashMap, HashSet};
use wasmtime_environ::EntityRef;

/// The component instances of a store.
#[derive(Default)]
pub(super) struct Components {
    entered: HashMap<usize, Call>,
    /// Those that nobody may enter any more.
    broken: HashSet<usize>,
    /// Who waits for which, in the order in which they came.
    waiting: Vec<(usize, Waker)>,
}

/// A guest thread's call of a component.
struct Call {
    thread: ThreadId,
    /// How often it has entered the instance: upstream refuses that only with concurrency.
    depth: usize,
    /// The youngest activation when it did first, by address.
    activation: usize,
    /// How many borrow scopes were open then.
    open_scopes: usize,
}

impl Components {
    fn leave(&mut self, instance: usize) {
        self.entered.remove(&instance);
        let (woken, others) = mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(wanted, _)| *wanted == instance);
        self.waiting = others;
        let woken: Vec<(usize, Waker)> = woken;
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn break_instance(&mut self, instance: usize) {
        self.broken.insert(instance);
        self.leave(instance);
    }
}

fn youngest_activation() -> usize {
    tls::with(|state| state.map_or(0, |state| ptr::from_ref(state).addr()))
}

fn running(store: &StoreOpaque) -> Option<ThreadId> {
    store.running_thread().map(|running| running.id)
}

/// Whether `instance` may be entered right here.
pub(crate) fn may_enter(store: &StoreOpaque, instance: ComponentInstanceId) -> bool {
    let Some(threads) = store.preempt() else {
        return true;
    };
    let components = &threads.components;
    let instance = instance.index();
    let owner = components.entered.get(&instance).map(|call| call.thread);
    !components.broken.contains(&instance) && (owner.is_none() || owner == running(store))
}

/// `instance` is entered.
pub(crate) fn enter(store: &mut StoreOpaque, instance: ComponentInstanceId) {
    let Some(thread) = running(store) else {
        return;
    };
    let open_scopes = store.open_scopes();
    if let Some(threads) = store.preempt_mut() {
        let calls = &mut threads.components.entered;
        let call = calls.entry(instance.index()).or_insert_with(|| Call {
            thread,
            depth: 0,
            activation: youngest_activation(),
            open_scopes,
        });
        call.depth += 1;
    }
}

/// `instance` has returned, and so has its `post-return` function.
pub(crate) fn leave(store: &mut StoreOpaque, instance: ComponentInstanceId) {
    let Some(thread) = running(store) else {
        return;
    };
    if let Some(threads) = store.preempt_mut() {
        let instance = instance.index();
        match threads.components.entered.get_mut(&instance) {
            Some(call) if call.thread == thread && call.depth > 1 => call.depth -= 1,
            Some(call) if call.thread == thread => threads.components.leave(instance),
            _ => {}
        }
    }
}

/// A call into Wasm has failed, and its activation is gone. Returns whether that is dealt with:
/// for a guest thread, only the component instance that the call was made for is affected.
pub(crate) fn trapped(store: &mut StoreOpaque) -> bool {
    let Some(thread) = running(store) else {
        return false;
    };
    let activation = youngest_activation();
    if let Some(threads) = store.preempt_mut() {
        let calls = threads.components.entered.iter();
        let failed = calls
            .filter(|(_, call)| call.thread == thread && call.activation == activation)
            .map(|(instance, _)| *instance)
            .collect::<Vec<_>>();
        // Its other calls may still use what this one has borrowed: `abandon` ends all.
        threads.components.broken.extend(failed);
    }
    true
}

/// The running thread's call has failed, and the thread is about to end: so are all calls that it
/// has not returned from.
pub(super) fn abandon(store: &mut StoreOpaque) -> Result<()> {
    let Some(thread) = running(store) else {
        return Ok(());
    };
    let Some(threads) = store.preempt_mut() else {
        return Ok(());
    };
    let calls = threads.components.entered.iter();
    let mut left: Vec<(usize, usize)> = calls
        .filter(|(_, call)| call.thread == thread)
        .map(|(instance, call)| (call.open_scopes, *instance))
        .collect();
    for (_, instance) in &left {
        threads.components.break_instance(*instance);
    }
    left.sort_unstable();
    while let Some((open_scopes, instance)) = left.pop() {
        store.abandon_tasks(ComponentInstanceId::new(instance), open_scopes)?;
    }
    Ok(())
}

/// Parks the running thread until it may enter `instance`.
///
/// # Errors
///
/// If nobody ever will, or the thread was killed meanwhile.
pub(super) fn wait_to_enter(store: &mut dyn VMStore, instance: ComponentInstanceId) -> Result<()> {
    while !may_enter(store, instance) {
        let threads = store.preempt();
        let is_broken =
            threads.is_some_and(|threads| threads.components.broken.contains(&instance.index()));
        if store.trapped() || is_broken {
            return Err(format_err!(Trap::CannotEnterComponent)
                .context("an earlier call of this component instance has trapped or was ended"));
        }
        let context = park::take_context(store, "a component instance")?;
        let waker = park::fresh_waker(store);
        if let (Some(threads), Some(waker)) = (store.preempt_mut(), waker) {
            let waiting = &mut threads.components.waiting;
            waiting.push((instance.index(), waker));
        }
        park::park(store, context, Park::default())?;
    }
    Ok(())
}

/// # Errors
///
/// If a guest thread runs: nobody would run the tasks of the component model that its task is
/// about to wait for.
#[cfg(feature = "component-model-async")]
pub(crate) fn ensure_tasks_may_wait(store: &StoreOpaque) -> Result<()> {
    ensure!(
        store.running_thread().is_none(),
        "a component that runs as a guest thread cannot wait for another task of the component \
         model: call it with `call_async` or `call_concurrent`"
    );
    Ok(())
}

/// Polls the future of a concurrent host function, which code of a component has called and waits
/// for, parking the guest thread in between. Gives the future back if this is not a guest thread's
/// own code.
#[cfg(feature = "component-model-async")]
pub(crate) fn park_until<R, F: Future<Output = Result<R>>>(
    store: &mut dyn VMStore,
    future: F,
) -> Result<Result<R>, F> {
    if !suspend::available(store) {
        return Err(future);
    }
    let mut future = core::pin::pin!(future);
    loop {
        let waker = park::fresh_waker(store);
        let mut cx = core::task::Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        let poll = crate::component::concurrent::tls::set(store, || future.as_mut().poll(&mut cx));
        if let core::task::Poll::Ready(result) = poll {
            return Ok(result);
        }
        drop(waker);
        let parked = park::take_context(store, "a host function")
            .and_then(|context| park::park(store, context, Park::default()));
        if let Err(error) = parked {
            return Ok(Err(error));
        }
    }
}
