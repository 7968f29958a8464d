//! The inside of a process: starting threads, and what their ends do.
//!
//! ```text
//!   Program::spawn            thread-spawn, called by a guest thread
//!        |                            |
//!   spawn_main                 reserve: a number, an instance ----> REFUSED
//!        |                            |
//!        +-----> spawn a guest thread, with a hook for its end
//!                                     |
//!                                     v       returned, and not the first
//!                                  finished ----------------------------> its instance
//!                                     | else                              is used again
//!                                     v
//!                                  Shared::end: the outcome, kill the others
//! ```
//!
//! A live thread's hook owns the [`Guest`], and `thread-spawn` only a weak reference:
//! what the guest is instantiated from owns that function.

use crate::instances::{Found, Place};
use crate::process::{Outcome, Shared};
use crate::table::Tid;
use std::sync::{Arc, OnceLock, Weak};
use wasmtime::{
    AsContextMut, Caller, Exit, Func, InstancePre, Result, StoreContextMut, ThreadId, Trap, Val,
    WasmBacktrace, format_err,
};

/// The import that starts a thread.
pub(crate) const THREAD_SPAWN: (&str, &str) = ("wasi", "thread-spawn");
/// The export that a thread starts with.
pub(crate) const THREAD_START: &str = "wasi_thread_start";

/// What `thread-spawn` returns if it cannot start a thread: minus WASI's `EAGAIN`.
pub const REFUSED: i32 = -6;

/// A process, with what depends on the type of its store.
pub(crate) struct Guest<T: 'static> {
    shared: Arc<Shared>,
    /// Set before anything of the guest runs.
    pre: OnceLock<InstancePre<T>>,
}

/// A number that a thread was given, until it has started.
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

/// While this is there an instance is being made.
struct Instantiating<'a>(&'a Shared);

impl<'a> Instantiating<'a> {
    fn new(shared: &'a Shared) -> Instantiating<'a> {
        shared.lock().instantiating = true;
        Instantiating(shared)
    }
}

impl Drop for Instantiating<'_> {
    fn drop(&mut self) {
        self.0.lock().instantiating = false;
    }
}

impl<T: 'static> Guest<T> {
    /// `link` is to define `thread-spawn`.
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
        let instance = {
            let _instantiating = Instantiating::new(shared);
            guest.pre()?.instantiate(&mut *store)?
        };
        let Some(start) = instance.get_func(&mut *store, "_start") else {
            return Err(format_err!("the instance has no `_start`"));
        };
        Self::spawn(guest, store, reserved, start, &[], None)
    }

    /// The host function.
    ///
    /// # Errors
    ///
    /// If the module's start function traps in the new instance: the caller is to trap,
    /// and so to end the process.
    pub(crate) fn thread_spawn(
        guest: &Arc<Self>,
        mut caller: Caller<'_, T>,
        argument: i32,
    ) -> Result<i32> {
        let mut store = caller.as_context_mut();
        let spawned = Self::try_thread_spawn(guest, &mut store, argument);
        let mut state = guest.shared.lock();
        match spawned {
            Ok(Some(tid)) => {
                state.stats.started += 1;
                Ok(tid.as_i32())
            }
            Ok(None) => {
                state.stats.refused += 1;
                Ok(REFUSED)
            }
            // The guest's own doing, and not for want of anything.
            Err(error) if error.is::<Trap>() || error.is::<WasmBacktrace>() => Err(error),
            Err(_) => {
                state.stats.refused += 1;
                Ok(REFUSED)
            }
        }
    }

    fn try_thread_spawn(
        guest: &Arc<Self>,
        store: &mut StoreContextMut<'_, T>,
        argument: i32,
    ) -> Result<Option<Tid>> {
        let shared = &*guest.shared;
        let (tid, found) = {
            let mut state = shared.lock();
            if state.instantiating || state.outcome.is_some() {
                return Ok(None);
            }
            let Some(tid) = state.threads.reserve() else {
                return Ok(None);
            };
            (tid, state.instances.find())
        };
        let reserved = Reserved {
            shared,
            tid,
            started: false,
        };
        let place = match found {
            Found::Free(place) => place,
            Found::MakeOne => {
                let _instantiating = Instantiating::new(shared);
                Place::new(store, guest.pre()?)?
            }
            Found::None => return Ok(None),
        };
        let (start, params) = (place.start, [Val::I32(tid.as_i32()), Val::I32(argument)]);
        Self::spawn(guest, store, reserved, start, &params, Some(place))?;
        Ok(Some(tid))
    }

    /// Makes a guest thread of a process's thread.
    fn spawn(
        guest: &Arc<Self>,
        store: &mut StoreContextMut<'_, T>,
        mut reserved: Reserved<'_>,
        start: Func,
        params: &[Val],
        place: Option<Place>,
    ) -> Result<ThreadId> {
        let (shared, tid) = (&*guest.shared, reserved.tid);
        let mut options = shared.options.threads.clone().detached(true);
        if let Some(name) = &shared.options.name {
            options = options.name(match tid {
                Tid::MAIN => name.clone(),
                tid => format!("{name}#{tid}"),
            });
        }
        let id = match store.spawn_wasm_thread_with(start, params, options) {
            Ok(id) => id,
            Err(error) => {
                if let Some(place) = place {
                    shared.lock().instances.free(place);
                }
                return Err(error);
            }
        };
        let guest = guest.clone();
        let hook = move |store: StoreContextMut<'_, T>, id: ThreadId| {
            guest.finished(store, tid, id, place);
        };
        store.wasm_thread_exit_hook(id, hook)?;
        let handle = store.wasm_thread_handle(id)?;
        reserved.started = true;
        let mut state = shared.lock();
        state.threads.started(tid, handle);
        state.stats.most_threads = state.stats.most_threads.max(state.threads.len());
        Ok(id)
    }

    /// The hook of a thread's end.
    fn finished(
        &self,
        mut store: StoreContextMut<'_, T>,
        tid: Tid,
        thread: ThreadId,
        place: Option<Place>,
    ) {
        let used = store.wasm_thread(thread).map(|thread| thread.stats);
        let exit = store.take_wasm_thread_exit(thread);
        {
            let mut state = self.shared.lock();
            state.threads.remove(tid);
            state.stats.add(&used.unwrap_or_default());
        }
        match (exit, place) {
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
