//! Counts, for tests, how often an OS thread writes what all others write, too: words of the
//! process, or of an engine. Two OS threads that do so take turns at a cache line, however many
//! cores there are. docs/scale-out.md lists these words.

#[cfg(debug_assertions)]
std::thread_local! {
    static WRITES: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// This OS thread is about to write such a word.
#[inline(always)]
pub(super) fn shared_write() {
    #[cfg(debug_assertions)]
    let _ = WRITES.try_with(|writes| writes.set(writes.get() + 1));
}

/// How often this OS thread has done so.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub fn shared_writes() -> u64 {
    WRITES.get()
}
