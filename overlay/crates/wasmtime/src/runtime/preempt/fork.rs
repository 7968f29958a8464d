//! Forking this process: its child has our data, but none of our OS threads.
//!
//! `fork` copies locks as they are, held or not, and whatever their holders were changing. So
//! the OS thread that forks takes the registered locks first. Afterwards it releases them in
//! both processes, and tells those in the child. Processes made by `posix_spawn`, `vfork` or
//! bare system calls do not come here: they must not run guests.

use crate::prelude::*;
use core::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

/// Something that other OS threads use or serve.
pub(super) trait AcrossFork: Send + Sync + 'static {
    /// Called before a fork. Locks it, and returns what unlocks it.
    fn before(self: Arc<Self>) -> After;
}

/// To be called after the fork, on the OS thread that has forked.
pub(super) type After = Box<dyn FnOnce(Side)>;

/// The process that has forked, or the new one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Parent,
    Child,
}

struct Registry {
    all: Vec<Weak<dyn AcrossFork>>,
    in_child: Vec<fn()>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    all: Vec::new(),
    in_child: Vec::new(),
});

struct Held {
    after: Vec<After>,
    registry: MutexGuard<'static, Registry>,
}

std::thread_local! {
    /// Held by an OS thread that is about to fork.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

fn registry() -> MutexGuard<'static, Registry> {
    // Nothing here panics halfway through a change.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Includes `it` in all later forks, as long as it exists.
pub(super) fn register<T: AcrossFork>(it: &Arc<T>) {
    let it: Weak<T> = Arc::downgrade(it);
    let mut registry = installed();
    registry.all.retain(|other| other.strong_count() > 0);
    registry.all.push(it);
}

/// Calls `f` in all later children, on the OS thread that has forked. For what only that OS thread
/// uses.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
pub(super) fn in_child(f: fn()) {
    installed().in_child.push(f);
}

fn installed() -> MutexGuard<'static, Registry> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(install);
    registry()
}

extern "C" fn before() {
    let registry = registry();
    let all = registry.all.iter().filter_map(Weak::upgrade);
    let held = Held {
        after: all.map(AcrossFork::before).collect(),
        registry,
    };
    // An OS thread that is ending has no such variable any more: nothing is held then.
    let _ = HELD.try_with(|slot| slot.replace(Some(held)));
}

fn after(side: Side) {
    let Ok(Some(Held { after, registry })) = HELD.try_with(RefCell::take) else {
        return;
    };
    for after in after {
        after(side);
    }
    if side == Side::Child {
        registry.in_child.iter().for_each(|f| f());
    }
}

extern "C" fn after_in_parent() {
    after(Side::Parent);
}

extern "C" fn after_in_child() {
    after(Side::Child);
}

#[cfg(unix)]
fn install() {
    type Handler = Option<extern "C" fn()>;

    unsafe extern "C" {
        fn pthread_atfork(before: Handler, parent: Handler, child: Handler) -> libc::c_int;
    }
    // SAFETY: I24. The functions are of the types that it takes, and stay as long as the
    // process. It fails only without memory: then forked processes have no timers.
    unsafe { pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
}

/// Nothing forks there.
#[cfg(not(unix))]
fn install() {
    let _: [extern "C" fn(); 3] = [before, after_in_parent, after_in_child];
}
