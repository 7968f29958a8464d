//! Stands in for a dispatch of another guest thread, which ends within an exclusive access.

use super::WORD;
use core::arch::asm;

/// Loads the word exclusively, and stores nothing.
pub unsafe extern "C" fn preempted() {
    // SAFETY: the word can be read.
    unsafe {
        asm!("ldxr {value:w}, [{word}]", word = in(reg) WORD.0.get(), value = out(reg) _);
    }
}
