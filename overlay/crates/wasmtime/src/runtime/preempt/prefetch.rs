//! Finding quickly what the next thread needs.
//!
//! With many threads, the caches have long lost what a thread touches when it is resumed: its
//! fiber and the end of its stack, a dozen lines. The CPU finds out one after the other that it
//! needs them. So they are fetched while the thread before is on the CPU. Nothing depends on
//! that: the hint may be wrong, and an address that is not mapped is not fetched.

/// Where a suspended thread's memory is that is used first when it is resumed.
#[derive(Clone, Copy, Default)]
pub(super) struct Hint {
    /// Its fiber.
    pub(super) fiber: usize,
    /// A place in the frame in which it left the CPU.
    pub(super) stack: usize,
    /// The page of its record: see threads/table.rs.
    pub(super) page: u32,
}

/// How many bytes of a fiber are fetched.
const FIBER: usize = 256;

/// How many bytes of the stack are fetched below and above the hint: the frames that switch, and
/// those of the libcall and of the guest.
const BELOW: usize = 320;
const ABOVE: usize = 512;

impl Hint {
    #[inline(always)]
    pub(super) fn fetch(self) {
        if self.stack != 0 {
            fetch(self.stack.wrapping_sub(BELOW), BELOW + ABOVE);
            fetch(self.fiber, FIBER);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(start: usize, len: usize) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for offset in (0..len).step_by(64) {
        // SAFETY: I28. It does not fault, and changes nothing but caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset) as *const i8) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch(_: usize, _: usize) {}
