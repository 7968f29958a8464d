//! What OS threads synchronize with. Lock-free code takes it from here, so that `tests/kernel`
//! can compile that code with the types of a model checker.

pub(super) use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
pub(super) use std::{thread, thread_local};
