//! The component model's tasks that a guest thread runs, which the store keeps in one place.
//!
//! Upstream's state says which task runs, in which of its threads, and with which borrow scopes.
//! Compiled code between two components changes parts of it in several steps. All of it belongs
//! to the thread on the CPU. So it is put aside, as it is, whenever a thread leaves the CPU, and
//! put back when the thread goes on (I2). A run starts with none, and puts its caller's back.

pub(super) use crate::component::store::Tasks;
use crate::store::StoreOpaque;

/// Puts the running tasks aside: none run. `None` if there are no components.
#[inline]
pub(super) fn put_aside(store: &mut StoreOpaque) -> Option<Tasks> {
    store
        .has_components()
        .then(|| store.replace_tasks(Tasks::default()))
}

/// Goes on with tasks that were put aside.
#[inline]
pub(super) fn put_back(store: &mut StoreOpaque, tasks: Option<Tasks>) {
    if let Some(tasks) = tasks {
        store.replace_tasks(tasks);
    }
}
