//! Stands in for the overlay's `sync.rs`, with loom's types.
//!
//! Loom takes a sequentially consistent access for one that acquires or releases, but knows
//! what a sequentially consistent fence is. So such an access has a fence beside it, as
//! compilers for weakly ordered CPUs have it. Where the fence is, before or after, shows
//! different mistakes: see [`Fences`]. Both are a little stronger than the language promises, as
//! a fence also orders the relaxed accesses around it. And a sequentially consistent store is a
//! swap, as on x86, because loom does not order a store after an exchange that has read what
//! the store overwrites.

use std::cell::Cell;
pub use std::sync::atomic::Ordering;

pub use self::condvar::Condvar;
pub use loom::sync::{Mutex, MutexGuard};

/// Where the fence of a sequentially consistent access is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// Before each access: a load that is not sequentially consistent may come before an
    /// earlier store.
    Before,
    /// After each store and exchange, as on x86: a store that is not sequentially consistent
    /// may come after a later load.
    AfterStores,
}

std::thread_local! {
    // All of loom's threads are on one OS thread.
    static FENCES: Cell<Fences> = const { Cell::new(Fences::Before) };
}

pub fn set_fences(fences: Fences) {
    FENCES.set(fences);
}

fn fence_if(fences: Fences, order: Ordering) {
    if order == Ordering::SeqCst && fences == FENCES.get() {
        loom::sync::atomic::fence(order);
    }
}

fn fenced<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
    fence_if(Fences::Before, order);
    let result = access();
    fence_if(Fences::AfterStores, order);
    result
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Default)]
        pub struct $name(loom::sync::atomic::$name);

        impl $name {
            pub fn new(value: $value) -> $name {
                $name(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                fence_if(Fences::Before, order);
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                if order == Ordering::SeqCst {
                    fenced(order, || self.0.swap(value, Ordering::Release));
                } else {
                    self.0.store(value, order);
                }
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                fenced(order, || self.0.swap(value, order))
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicI64, i64);
atomic!(AtomicU64, u64);

impl AtomicU64 {
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        fenced(order, || self.0.fetch_add(value, order))
    }

    pub fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        fenced(success, || {
            self.0.compare_exchange(current, new, success, failure)
        })
    }
}

/// Like the standard library's, of which it knows as much as is used.
macro_rules! constant {
    ($($(#[$attr:meta])* static $name:ident: $value:ty = const { $init:expr };)*) => {
        loom::thread_local! { $($(#[$attr])* static $name: $value = $init;)* }
    };
}
pub(super) use constant as thread_local;

mod condvar {
    use super::MutexGuard;
    use crate::runtime::preempt::clock;
    use std::sync::LockResult;
    use std::time::Duration;

    #[derive(Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub fn new() -> Condvar {
            Condvar::default()
        }

        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            self.0.wait(guard)
        }

        /// If time passes, it does so at once, and nobody gets the lock meanwhile.
        pub fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            time: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            if clock::pass(time) {
                return Ok((guard, ()));
            }
            Ok((self.wait(guard).unwrap(), ()))
        }

        pub fn notify_one(&self) {
            self.0.notify_one();
        }
    }
}

pub mod thread {
    //! Loom's threads. An `unpark` of loom's would be seen at once by a thread that has not
    //! parked, so this has its own.

    use loom::sync::{Condvar, Mutex};
    pub use loom::thread::{Builder, JoinHandle};
    use std::sync::Arc;

    #[derive(Clone, Default)]
    pub struct Thread(Arc<Token>);

    #[derive(Default)]
    struct Token {
        is_there: Mutex<bool>,
        changed: Condvar,
    }

    loom::thread_local! {
        static CURRENT: Thread = Thread::default();
    }

    pub fn current() -> Thread {
        CURRENT.with(Thread::clone)
    }

    impl Thread {
        pub fn unpark(&self) {
            *self.0.is_there.lock().unwrap() = true;
            self.0.changed.notify_one();
        }
    }

    pub fn park() {
        let thread = current();
        let mut is_there = thread.0.is_there.lock().unwrap();
        while !std::mem::take(&mut *is_there) {
            is_there = thread.0.changed.wait(is_there).unwrap();
        }
    }

    pub fn park_timeout(_time: std::time::Duration) {
        park();
    }
}
