//! The instances of a process: made when there is no other way, and used again.

use crate::guest::THREAD_START;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::{Func, Instance, InstanceSnapshot, Result, StoreContextMut, bail};

/// An instance for a thread, which has started.
pub(crate) struct Place {
    /// `wasi_thread_start`.
    pub(crate) start: Func,
    snapshot: InstanceSnapshot,
}

impl Place {
    pub(crate) fn of<T: 'static>(
        store: &mut StoreContextMut<'_, T>,
        instance: Instance,
    ) -> Result<Place> {
        let snapshot = store.snapshot_wasm_instance(&instance)?;
        let Some(start) = instance.get_func(&mut *store, THREAD_START) else {
            bail!("the instance has no `{THREAD_START}`");
        };
        Ok(Place { start, snapshot })
    }

    /// As if it was new, after the thread that had it is gone. `None` if that cannot be
    /// done.
    pub(crate) fn reset<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Option<Place> {
        let reset = store.reset_wasm_instance(&self.snapshot);
        matches!(reset, Ok(true)).then_some(self)
    }
}

/// What one thread has: nothing until its instance has started. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Lease(Arc<Mutex<Option<Place>>>);

impl Lease {
    pub(crate) fn put(&self, place: Place) {
        *self.place() = Some(place);
    }

    pub(crate) fn take(&self) -> Option<Place> {
        self.place().take()
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that no thread has, and how many there are in all.
pub(crate) struct Instances {
    free: Vec<Place>,
    made: usize,
    max: usize,
}

/// Where the instance of a new thread comes from.
pub(crate) enum Found {
    Free(Place),
    /// One may be made. It is counted even if that fails: an attempt leaves things in the
    /// store, which a guest must not do any number of times.
    MakeOne,
    /// There are as many as there may be.
    None,
}

impl Instances {
    pub(crate) fn new(max: usize) -> Instances {
        Instances {
            free: Vec::new(),
            made: 0,
            max,
        }
    }

    pub(crate) fn find(&mut self) -> Found {
        if let Some(place) = self.free.pop() {
            return Found::Free(place);
        }
        if self.made >= self.max {
            return Found::None;
        }
        self.made += 1;
        Found::MakeOne
    }

    /// The first thread's.
    pub(crate) fn count_main(&mut self) {
        self.made += 1;
    }

    pub(crate) fn free(&mut self, place: Place) {
        self.free.push(place);
    }

    pub(crate) fn made(&self) -> usize {
        self.made
    }
}
