//! What the models share.

use super::id::ThreadId;
use super::remote::Remote;
use super::sync::{Fences, set_fences};
use std::sync::Arc;

/// Runs `model` in every order with up to three switches to another OS thread where the running
/// one could go on. All orders would take hours.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    for fences in [Fences::Before, Fences::AfterStores] {
        set_fences(fences);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        let model = model.clone();
        builder.check(move || model());
    }
}

pub fn id(id: u64) -> ThreadId {
    ThreadId::from_u64(id)
}

/// Runs `action` on another OS thread.
pub fn on_another(
    remote: &Arc<Remote>,
    action: impl FnOnce(&Remote) + 'static,
) -> loom::thread::JoinHandle<()> {
    let remote = remote.clone();
    loom::thread::spawn(move || action(&remote))
}
