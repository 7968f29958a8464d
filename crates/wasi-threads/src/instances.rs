//! The instances of a process: reused where possible, made where not.

use crate::abi::THREAD_START;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::preempt::InstanceSnapshot;
use wasmtime::{Func, Instance, Result, StoreContextMut, bail};

/// A started instance, for a thread to run in.
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
        let snapshot = InstanceSnapshot::new(&mut *store, &instance)?;
        let Some(start) = instance.get_func(&mut *store, THREAD_START) else {
            bail!("the instance has no `{THREAD_START}`");
        };
        Ok(Place { start, snapshot })
    }

    /// Makes the instance as good as new, once its thread is gone. `None` if that is
    /// impossible.
    pub(crate) fn reset<T: 'static>(self, store: &mut StoreContextMut<'_, T>) -> Option<Place> {
        let reset = self.snapshot.restore(&mut *store);
        matches!(reset, Ok(true)).then_some(self)
    }
}

/// The instance that one thread holds; none until the instance has started. Clones share
/// it.
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

/// The instances that no thread holds, and how many were made in all.
pub(crate) struct Instances {
    free: Vec<Place>,
    made: usize,
    max: usize,
}

/// Where the instance of a new thread comes from.
pub(crate) enum Found {
    Free(Place),
    /// One may be made. It counts even if that fails: a failed attempt still leaves things
    /// in the store, and a guest must not be able to repeat that without limit.
    MakeOne,
    /// The limit is reached.
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

    /// Counts the first thread's instance.
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
