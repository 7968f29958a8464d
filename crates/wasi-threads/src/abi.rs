//! The names and the values that wasi-threads prescribes.

/// The import that starts a thread: its module and its name.
pub(crate) const THREAD_SPAWN: (&str, &str) = ("wasi", "thread-spawn");
/// The export that a thread starts with.
pub(crate) const THREAD_START: &str = "wasi_thread_start";

/// What `thread-spawn` returns if it cannot start a thread: minus WASI's `EAGAIN`.
pub const REFUSED: i32 = -6;
