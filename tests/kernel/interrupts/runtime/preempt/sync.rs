//! Stands in for the overlay's `sync.rs`: each access is a step of the machine.

use super::machine::step;
use std::cell::Cell;
pub use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub struct $name(Cell<$value>);

        impl $name {
            pub const fn new(value: $value) -> $name {
                $name(Cell::new(value))
            }

            pub fn load(&self, _order: Ordering) -> $value {
                step();
                self.0.get()
            }

            pub fn store(&self, value: $value, _order: Ordering) {
                step();
                self.0.set(value);
            }

            pub fn swap(&self, value: $value, _order: Ordering) -> $value {
                step();
                self.0.replace(value)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicI64, i64);
atomic!(AtomicU64, u64);

impl AtomicU64 {
    pub fn fetch_min(&self, value: u64, _order: Ordering) -> u64 {
        step();
        self.0.replace(self.0.get().min(value))
    }
}

/// A thread-local cell.
pub struct Key<T: 'static>(pub &'static std::thread::LocalKey<Cell<T>>);

impl<T: Copy> Key<T> {
    pub fn get(&self) -> T {
        step();
        self.0.get()
    }

    pub fn set(&self, value: T) {
        step();
        self.0.set(value);
    }
}

/// Like the standard library's, of which it knows as much as is used.
macro_rules! constant {
    ($($(#[$doc:meta])* static $name:ident: Cell<$value:ty> = const { $init:expr };)*) => {
        $(
            static $name: crate::runtime::preempt::sync::Key<$value> = {
                std::thread_local! {
                    static CELL: Cell<$value> = const { $init };
                }
                crate::runtime::preempt::sync::Key(&CELL)
            };
        )*
    };
}
pub(super) use constant as thread_local;
