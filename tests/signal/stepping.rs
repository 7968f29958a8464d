//! A single-stepping CPU, for tests that preempt at a chosen instruction.
//!
//! A host function begins it, so that there is a SIGTRAP before each instruction of compiled
//! functions that follows. Its handler counts them, keeps a call stack of its own by looking at
//! what calls and returns, and preempts at the instruction that it was told. There it walks the
//! frames that the interrupted code now has, as an unwinder would, and compares.
//!
//! The handler does not allocate, unless there is something to complain about: it
//! may have interrupted the allocator.

mod frames;
#[cfg_attr(target_arch = "aarch64", path = "stepping/aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "stepping/x86_64.rs")]
mod machine;

#[cfg(feature = "call-hook")]
pub use self::machine::has_preempted;
pub use self::machine::{before_each, pick, prepare, seen, start, stop};

/// What the handler is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No stepping.
    Off,
    /// Preempt before the compiled instruction with this number, and step no more.
    At(u64),
    /// Preempt before each.
    Always,
    /// Preempt before each, up to so many, and step no more when the first function that was
    /// called returns. Host code is not stepped through while the thread is off the CPU: its
    /// scheduler calls [`pick`].
    Each(u64),
}

/// What the handler has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many instructions of compiled functions were stepped through.
    pub instructions: u64,
    /// How many of them were preempted.
    pub preempted: u64,
    /// How many could not be, which is put off to a later instruction.
    pub put_off: u64,
    /// The first thing that was wrong, if anything.
    pub mistake: Option<String>,
}

/// # Safety
///
/// `context` is what the kernel gave to a handler that has not returned.
unsafe fn interrupt(context: *mut libc::c_void) -> bool {
    // SAFETY: this function's own contract.
    unsafe { wasmtime::preempt::interrupt(context) }
}
