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
//! | a guest thread of a run that the call itself has started | `Trap::CannotEnterComponent` |
//! | the embedder, between two runs | `Trap::CannotEnterComponent` |
//!
//! A call that traps, is killed or is otherwise ended leaves its instance in the middle of
//! something: nobody enters that any more. (One whose parameters are not of their types has not
//! begun.) Upstream marks the whole store instead, which would let
//! one guest end all others. Instances that were not entered are not affected.
//!
//! What an ended call leaves in the store is deleted as soon as it has failed: its tasks, and its
//! hold on what it has borrowed. Handles in the instance's own tables stay until the store is dropped, as does the
//! instance.

mod calls;

pub(super) use self::calls::Components;

use self::calls::{Call, Entrance};
use super::id::ThreadId;
use super::park::{self, Park};
use super::suspend;
use crate::Trap;
use crate::component::__internal::LowerContext;
use crate::component::ComponentInstanceId;
#[cfg(feature = "component-model-async")]
use crate::component::concurrent::tls;
use crate::prelude::*;
use crate::runtime::vm::{VMStore, tls as activations};
use crate::store::StoreOpaque;
use core::ptr;
use core::task::Waker;
#[cfg(feature = "component-model-async")]
use core::task::{Context, Poll};
use wasmtime_environ::EntityRef;

fn youngest_activation() -> usize {
    activations::with(|state| state.map_or(0, |state| ptr::from_ref(state).addr()))
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
    // A call hook is not part of the call.
    let in_hooks = threads.running().is_some_and(|running| running.in_hooks);
    let is_inside = |call: &Call| call.thread == running(store) && !in_hooks;
    let call = components.call(instance);
    !components.shut.contains(&instance) && call.is_none_or(is_inside)
}

/// `instance` is entered.
///
/// # Errors
///
/// If the tasks of the store are in disorder.
pub(crate) fn enter(store: &mut StoreOpaque, instance: ComponentInstanceId) -> Result<()> {
    record_call(store, instance, true)
}

/// As [`enter`], for a call whose parameters are lowered first. Then it [begins](begin).
///
/// # Errors
///
/// As for [`enter`].
pub(crate) fn enter_to_lower(store: &mut StoreOpaque, instance: ComponentInstanceId) -> Result<()> {
    record_call(store, instance, false)
}

fn record_call(store: &mut StoreOpaque, instance: ComponentInstanceId, begun: bool) -> Result<()> {
    if store.engine().config().preemption.is_none() {
        return Ok(());
    }
    let thread = running(store);
    let tasks = tasks(store)?.unwrap_or(0);
    // The first threads may be spawned during this call.
    let components = &mut store.preemptive_threads()?.components;
    let instance = instance.index();
    let entrance = Entrance {
        activation: youngest_activation(),
        tasks,
        begun,
    };
    match components.call_mut(instance) {
        Some(call) => call.more.push(entrance),
        None => {
            let call = Call {
                thread,
                outer: None,
                first: entrance,
                more: Vec::new(),
            };
            components.enter(instance, call);
        }
    }
    Ok(())
}

/// The parameters of the call that has entered `instance` are lowered.
pub(crate) fn begin(store: &mut StoreOpaque, instance: ComponentInstanceId) {
    if let Some(threads) = store.preempt_mut() {
        if let Some(call) = threads.components.call_mut(instance.index()) {
            let entrance = call.more.last_mut().unwrap_or(&mut call.first);
            entrance.begun = true;
        }
    }
}

/// `instance` has returned, and so has its `post-return` function.
pub(crate) fn leave(store: &mut StoreOpaque, instance: ComponentInstanceId) {
    let thread = running(store);
    if let Some(threads) = store.preempt_mut() {
        let instance = instance.index();
        match threads.components.call_mut(instance) {
            Some(call) if call.thread == thread => {
                if call.more.pop().is_none()
                    && let Some(next) = threads.components.leave(instance)
                {
                    threads.remote.wake(next);
                }
            }
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
    let current = store.current_component();
    if let Some(threads) = store.preempt_mut() {
        let calls = threads.components.of(thread);
        let failed = calls
            .filter(|(_, call)| {
                call.entrances()
                    .any(|entrance| entrance.activation == activation)
            })
            .map(|(instance, _)| instance)
            .chain(current.map(|current| current.index()))
            .collect::<Vec<_>>();
        // What it has left is deleted by `after_call`.
        threads.components.shut.extend(failed);
    }
    true
}

/// How many tasks of the component model the running thread consists of, before a call. `None` if
/// no guest thread runs.
///
/// # Errors
///
/// If the tasks of the store are in disorder.
pub(crate) fn tasks(store: &mut StoreOpaque) -> Result<Option<usize>> {
    match store.running_thread() {
        Some(_) => store.task_depth().map(Some),
        None => Ok(None),
    }
}

/// A call has returned, before which there were `tasks`. If it has failed, nothing of it goes on,
/// even if the host function that has made it does.
///
/// # Errors
///
/// That of the call.
pub(crate) fn after_call<R>(
    store: &mut StoreOpaque,
    tasks: Option<usize>,
    result: Result<R>,
) -> Result<R> {
    match (&result, tasks) {
        (Err(_), Some(tasks)) => abandon(store, tasks)?,
        (Err(_), None) => forget_plain_call(store),
        (Ok(_), _) => {}
    }
    result
}

/// A plain call has failed: it is in its instance no more. If that has trapped, upstream lets nobody
/// into any component of the store.
fn forget_plain_call(store: &mut StoreOpaque) {
    let activation = youngest_activation();
    if let Some(threads) = store.preempt_mut() {
        for entered in &mut threads.components.entered {
            entered.take_if(|call| {
                if call.thread.is_none() {
                    call.more.retain(|again| again.activation != activation);
                }
                call.thread.is_none() && call.first.activation == activation
            });
        }
    }
}

/// Ends the calls that the running thread has not returned from, but for its `tasks` oldest tasks.
pub(super) fn abandon(store: &mut StoreOpaque, tasks: usize) -> Result<()> {
    let Some(thread) = running(store) else {
        return Ok(());
    };
    // An instance that was about to be made may not be there.
    let made = store.component_data().next_component_instance_id().index();
    let Some(threads) = store.preempt_mut() else {
        return Ok(());
    };
    let components = &mut threads.components;
    let inside: Vec<usize> = components.of(thread).map(|(inside, _)| inside).collect();
    let mut left: Vec<(usize, usize)> = Vec::new();
    for instance in inside {
        let Some(call) = components.call_mut(instance) else {
            continue;
        };
        let ends = |entrance: &&Entrance| entrance.tasks >= tasks;
        let ended = call.entrances().filter(ends);
        let begun = ended.clone().any(|entrance| entrance.begun);
        let before = left.len();
        left.extend(ended.map(|entrance| (entrance.tasks, instance)));
        if left.len() == before {
            continue;
        }
        call.more.retain(|again| again.tasks < tasks);
        let has_left = call.first.tasks >= tasks;
        // Its `realloc` may have trapped.
        let is_shut = begun || components.shut.contains(&instance);
        let woken = match instance < made && is_shut {
            true => components.shut(instance),
            false if has_left => components.leave(instance).into_iter().collect(),
            false => Vec::new(),
        };
        woken.into_iter().for_each(|id| threads.remote.wake(id));
    }
    left.retain(|(_, instance)| *instance < made);
    left.sort_unstable();
    while let Some((tasks, instance)) = left.pop() {
        store.abandon_tasks(ComponentInstanceId::new(instance), tasks)?;
    }
    Ok(())
}

/// Suspends the running thread by `suspend` between two pieces of an operation on memories of the
/// instances that it is in: they do not move meanwhile, under any preemption source.
pub(super) fn between_pieces<R>(
    store: &mut dyn VMStore,
    suspend: impl FnOnce(&mut dyn VMStore) -> R,
) -> R {
    let count = |store: &mut dyn VMStore, change: fn(usize) -> usize| {
        if let Some(threads) = store.store_opaque_mut().preempt_mut() {
            let count = &mut threads.components.between_pieces;
            *count = change(*count);
        }
    };
    count(store, |count| count + 1);
    let result = suspend(store);
    count(store, |count| count - 1);
    result
}

/// Whether a thread is off the CPU between two pieces.
pub(super) fn anyone_between_pieces(store: &StoreOpaque) -> bool {
    let threads = store.preempt();
    threads.is_some_and(|threads| threads.components.between_pieces > 0)
}

/// Whether a call of a component may be stopped in the middle of something: any but the running
/// thread's, or that too if it is in a call hook, on its way off the CPU or back to it.
pub(super) fn stopped_call(store: &StoreOpaque) -> Option<String> {
    let threads = store.preempt()?;
    let running = threads.running().filter(|running| !running.in_hooks);
    let running = running.map(|running| running.id);
    let mut inside = threads.components.innermost.keys();
    let stopped = inside.find(|thread| Some(**thread) != running)?;
    Some(format!("guest thread {stopped} in a component"))
}

/// Lowers the results of a host function that code of a component has called. For that the guest
/// may be asked for memory: its `realloc` is the thread's own code, preempted like all other. All
/// that is on the stack between is Wasmtime's.
pub(crate) fn while_lowering<'a, T, R>(
    lower: &mut LowerContext<'a, T>,
    f: impl FnOnce(&mut LowerContext<'a, T>) -> R,
) -> R {
    if !suspend::available(lower.store.0) {
        return f(lower);
    }
    suspend::set_lowering(true);
    let in_host = lower.store.0.replace_in_host(0);
    let result = f(lower);
    lower.store.0.replace_in_host(in_host);
    suspend::set_lowering(false);
    result
}

/// Parks the running thread until it may enter `instance`.
///
/// # Errors
///
/// If nobody ever will, or the thread was killed meanwhile.
pub(super) fn wait_to_enter(store: &mut dyn VMStore, instance: ComponentInstanceId) -> Result<()> {
    let Some(id) = running(store) else {
        return Ok(());
    };
    let mut waited = false;
    while !may_enter(store, instance) {
        let inside = ensure_opens(store, instance.index())?;
        let context = park::take_context(store, "a component instance")?;
        if let Some(threads) = store.preempt_mut() {
            threads.components.wait(instance.index(), id, waited);
        }
        waited = true;
        let park = Park {
            component: inside,
            ..Park::default()
        };
        if let Err(error) = park::park(store, context, park) {
            wait_no_more(store, instance, id, false);
            return Err(error);
        }
    }
    if waited {
        wait_no_more(store, instance, id, true);
    }
    Ok(())
}

fn wait_no_more(
    store: &mut StoreOpaque,
    instance: ComponentInstanceId,
    id: ThreadId,
    enters: bool,
) {
    if let Some(threads) = store.preempt_mut() {
        let components = &mut threads.components;
        if let Some(next) = components.wait_no_more(instance.index(), id, enters) {
            threads.remote.wake(next);
        }
    }
}

/// The thread that is in `instance`.
///
/// # Errors
///
/// If nobody will ever leave `instance`.
fn ensure_opens(store: &StoreOpaque, instance: usize) -> Result<Option<ThreadId>> {
    let Some(threads) = store.preempt() else {
        return Ok(None);
    };
    let components = &threads.components;
    if store.trapped() || components.shut.contains(&instance) {
        return Err(format_err!(Trap::CannotEnterComponent)
            .context("an earlier call of this component instance has trapped or was ended"));
    }
    let call = components.call(instance);
    // A plain call is below this run on the stack.
    if call.is_some_and(|call| call.thread.is_none_or(|thread| !threads.is_live(thread))) {
        return Err(format_err!(Trap::CannotEnterComponent)
            .context("a call of this component instance is waiting for the end of this thread"));
    }
    Ok(call.and_then(|call| call.thread))
}

/// # Errors
///
/// If a guest thread runs: nobody would run the tasks of the component model that its task is
/// about to wait for.
#[cfg(feature = "component-model-async")]
pub(crate) fn ensure_tasks_may_wait(store: &mut StoreOpaque) -> Result<()> {
    // A host function may have an event loop of its own, on another fiber.
    ensure!(
        store.running_thread().is_none() || store.can_block(),
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
    let mut future = Box::pin(future);
    loop {
        let waker = park::fresh_waker(store);
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        let poll = tls::set(store, || future.as_mut().poll(&mut cx));
        if let Poll::Ready(result) = poll {
            return Ok(result);
        }
        drop(waker);
        let parked = park::take_context(store, "a host function")
            .and_then(|context| park::park(store, context, Park::default()));
        if let Err(error) = parked {
            // What is dropped with it may use the store.
            tls::set(store, move || drop(future));
            return Ok(Err(error));
        }
    }
}
