//! The inside of a process: starting threads, and handling their ends.
//!
//! ```text
//!   Program::spawn            thread-spawn, called by a guest thread
//!        |                            |
//!   spawn_main                 reserve: a number, an instance ----> REFUSED
//!        |                            |
//!        +-----> spawn a guest thread, with a hook for its end
//!                                     |
//!                                     v  on the thread, if its instance is new
//!                    the module's start function, and a snapshot for the next
//!                                     |
//!                                     v       returned, and not the first
//!                                  finished ----------------------------> its instance
//!                                     | else                              is used again
//!                                     v
//!                                  Shared::end: the outcome, kill the others
//! ```
//!
//! A live thread's hook owns the [`Guest`]. `thread-spawn` only has a weak reference, since
//! the `pre` that a guest is instantiated from owns that function.

use crate::abi::REFUSED;
use crate::instances::{Found, Lease, Place};
use crate::process::{Outcome, Shared};
use crate::table::Tid;
use std::sync::{Arc, OnceLock, Weak};
use wasmtime::{
    AsContextMut, Caller, Exit, Instance, InstancePre, Result, StoreContextMut, ThreadId, Val,
    format_err,
};

/// A process: the part that depends on the type of its store.
pub(crate) struct Guest<T: 'static> {
    shared: Arc<Shared>,
    /// Set before any of the guest runs.
    pre: OnceLock<InstancePre<T>>,
}

/// A number reserved for a thread that has not started yet.
struct Reserved<'a> {
    shared: &'a Shared,
    tid: Tid,
    started: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.started {
            self.shared.lock().threads.remove(self.tid);
        }
    }
}

impl<T: 'static> Guest<T> {
    /// `link` must define `thread-spawn`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        link: impl FnOnce(Weak<Guest<T>>) -> Result<InstancePre<T>>,
    ) -> Result<Arc<Guest<T>>> {
        let guest = Arc::new(Guest {
            shared,
            pre: OnceLock::new(),
        });
        let pre = link(Arc::downgrade(&guest))?;
        guest.pre.get_or_init(|| pre);
        Ok(guest)
    }

    fn pre(&self) -> Result<&InstancePre<T>> {
        let pre = self.pre.get();
        pre.ok_or_else(|| format_err!("the process is not linked"))
    }

    pub(crate) fn spawn_main(
        guest: &Arc<Self>,
        store: &mut StoreContextMut<'_, T>,
    ) -> Result<ThreadId> {
        let shared = &*guest.shared;
        {
            let mut state = shared.lock();
            state.threads.reserve_main();
            state.instances.count_main();
        }
        let reserved = Reserved {
            shared,
            tid: Tid::MAIN,
            started: false,
        };
        let options = shared.thread_options(Tid::MAIN);
        let started = |mut store: StoreContextMut<'_, T>, instance: Instance| {
            let start = instance.get_func(&mut store, "_start");
            let start = start.ok_or_else(|| format_err!("the instance has no `_start`"))?;
            Ok((start, Vec::new()))
        };
        let id = options.spawn_instance(&mut *store, guest.pre()?, started)?;
        Self::spawned(guest, store, reserved, id, Lease::default())?;
        Ok(id)
    }

    /// The host function.
    pub(crate) fn thread_spawn(guest: &Arc<Self>, mut caller: Caller<'_, T>, argument: i32) -> i32 {
        let mut store = caller.as_context_mut();
        let spawned = Self::try_thread_spawn(guest, &mut store, argument);
        let mut state = guest.shared.lock();
        match spawned {
            Ok(Some(tid)) => {
                state.stats.started += 1;
                tid.as_i32()
            }
            Ok(None) | Err(_) => {
                drop(state);
                guest.refuse()
            }
        }
    }

    /// What `thread-spawn` does if it cannot start a thread.
    pub(crate) fn refuse(&self) -> i32 {
        self.shared.lock().stats.refused += 1;
        REFUSED
    }

    fn try_thread_spawn(
        guest: &Arc<Self>,
        store: &mut StoreContextMut<'_, T>,
        argument: i32,
    ) -> Result<Option<Tid>> {
        let shared = &*guest.shared;
        let tid = {
            let mut state = shared.lock();
            if state.outcome.is_some() {
                return Ok(None);
            }
            state.threads.reserve()
        };
        let Some(tid) = tid else {
            return Ok(None);
        };
        let reserved = Reserved {
            shared,
            tid,
            started: false,
        };
        let options = shared.thread_options(tid);
        // Checked first, or each failed attempt would use up an instance.
        store.wasm_threads().ensure_can_spawn(&options)?;
        let found = shared.lock().instances.find();
        let params = [Val::I32(tid.as_i32()), Val::I32(argument)];
        let lease = Lease::default();
        let id = match found {
            Found::Free(place) => match options.spawn(&mut *store, place.start, &params) {
                Ok(id) => {
                    lease.put(place);
                    id
                }
                Err(error) => {
                    shared.lock().instances.free(place);
                    return Err(error);
                }
            },
            Found::MakeOne => {
                let lease = lease.clone();
                options.spawn_instance(&mut *store, guest.pre()?, move |mut store, instance| {
                    let place = Place::of(&mut store, instance)?;
                    let start = place.start;
                    lease.put(place);
                    Ok((start, params.to_vec()))
                })?
            }
            Found::None => return Ok(None),
        };
        Self::spawned(guest, store, reserved, id, lease)?;
        Ok(Some(tid))
    }

    /// Registers a guest thread that was just spawned for the process.
    fn spawned(
        guest: &Arc<Self>,
        store: &mut StoreContextMut<'_, T>,
        mut reserved: Reserved<'_>,
        id: ThreadId,
        lease: Lease,
    ) -> Result<()> {
        let (shared, tid) = (&*guest.shared, reserved.tid);
        let guest = guest.clone();
        let hook = move |store: StoreContextMut<'_, T>, id: ThreadId| {
            guest.finished(store, tid, id, lease);
        };
        id.on_exit(&mut *store, hook)?;
        let handle = id.remote(&mut *store)?;
        reserved.started = true;
        let mut state = shared.lock();
        state.threads.started(tid, handle);
        state.stats.most_threads = state.stats.most_threads.max(state.threads.len());
        Ok(())
    }

    /// The hook that runs when a thread ends.
    fn finished(
        &self,
        mut store: StoreContextMut<'_, T>,
        tid: Tid,
        thread: ThreadId,
        lease: Lease,
    ) {
        let used = thread.info(&store).map(|thread| thread.stats);
        let exit = thread.take_exit(&mut store);
        {
            let mut state = self.shared.lock();
            state.threads.remove(tid);
            state.stats.add(&used.unwrap_or_default());
        }
        match (exit, lease.take()) {
            (Some(Exit::Returned(_)), Some(place)) => {
                if let Some(place) = place.reset(&mut store) {
                    self.shared.lock().instances.free(place);
                }
            }
            (exit, _) => self.shared.end(Outcome {
                thread,
                tid,
                exit: exit.unwrap_or(Exit::Killed),
            }),
        }
    }
}
