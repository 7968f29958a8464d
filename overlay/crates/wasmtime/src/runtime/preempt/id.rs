//! Ids of guest threads. `handle.rs` has their operations.

use crate::store::StoreId;
use core::fmt;
use core::hash::Hasher;
use core::marker::PhantomData;
use core::ops::Deref;

/// A handle to a guest thread of a store. Ids are never reused.
///
/// An id belongs to the store that spawned the thread. In another store it means another thread,
/// or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(super) u64);

impl ThreadId {
    /// This id as a number: a store's first thread is 1, the next 2, and so on.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id whose [`ThreadId::as_u64`] is `id`, such as one that was saved. The thread may not
    /// exist.
    pub fn from_u64(id: u64) -> ThreadId {
        ThreadId(id)
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A handle to a guest thread whose function returns `Results`. Has all methods of [`ThreadId`].
pub struct TypedThreadId<Results> {
    id: ThreadId,
    /// The store whose thread has these types.
    store: StoreId,
    _results: PhantomData<fn() -> Results>,
}

impl<Results> TypedThreadId<Results> {
    pub(super) fn new(store: StoreId, id: ThreadId) -> Self {
        TypedThreadId {
            id,
            store,
            _results: PhantomData,
        }
    }

    pub(super) fn store(self) -> StoreId {
        self.store
    }

    /// The id without the result type.
    pub fn id(self) -> ThreadId {
        self.id
    }
}

impl<Results> Deref for TypedThreadId<Results> {
    type Target = ThreadId;

    fn deref(&self) -> &ThreadId {
        &self.id
    }
}

impl<Results> Clone for TypedThreadId<Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Results> Copy for TypedThreadId<Results> {}

impl<Results> fmt::Debug for TypedThreadId<Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// Ids count up from 1. Spreading them over the high bits, by which the table picks its buckets,
/// is all the hashing they need.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio: Fibonacci hashing, Knuth, "The Art
        // of Computer Programming", volume 3, section 6.4.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
