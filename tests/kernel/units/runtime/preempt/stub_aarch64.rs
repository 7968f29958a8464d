//! The stub, with an interrupted function that is in the middle of an exclusive access.

mod code;
mod preempted;

use code::stub::{stub, stub_live_link, stub_no_frame};
use core::arch::asm;
use std::cell::UnsafeCell;

/// What is loaded and stored exclusively. The size is that of the largest granule.
#[repr(align(2048))]
struct Word(UnsafeCell<u32>);

// SAFETY: only accessed exclusively, by instructions that are atomic.
unsafe impl Sync for Word {}

static WORD: Word = Word(UnsafeCell::new(0));

/// Loads the word exclusively, continues in the stub with its own next instruction in this
/// register, as the handler has it, and returns whether the store that follows fails.
macro_rules! store_fails {
    ($stub:ident, $register:literal) => {{
        let failed: u32;
        // SAFETY: I6. The stub returns to the label with all registers as they were but the one
        // that it was called by, and the link register is listed for the call of `preempted`.
        unsafe {
            asm!(
                "ldxr {value:w}, [{word}]",
                concat!("adr ", $register, ", 2f"),
                "b {stub}",
                "2: stxr {failed:w}, {value:w}, [{word}]",
                stub = sym $stub,
                word = in(reg) WORD.0.get(),
                value = out(reg) _,
                failed = out(reg) failed,
                out("x17") _,
                out("x30") _,
            );
        }
        failed == 1
    }};
}

#[test]
fn an_exclusive_store_fails_if_the_stub_ran_since_the_load() {
    for _ in 0..1000 {
        assert!(store_fails!(stub, "x30"));
        assert!(store_fails!(stub_no_frame, "x17"));
        assert!(store_fails!(stub_live_link, "x17"));
    }
}

/// The test above would pass if no exclusive store ever succeeded.
#[test]
fn an_exclusive_store_succeeds_after_what_the_stub_calls() {
    let succeeds = || {
        let failed: u32;
        // SAFETY: the call preserves what calls do, and the rest is listed.
        unsafe {
            asm!(
                "bl {preempted}",
                "stxr w22, wzr, [x21]",
                preempted = sym preempted::preempted,
                in("x21") WORD.0.get(),
                out("w22") failed,
                clobber_abi("C"),
            );
        }
        failed == 0
    };
    // An interrupt makes one fail now and then.
    assert!((0..1000).any(|_| succeeds()));
}
