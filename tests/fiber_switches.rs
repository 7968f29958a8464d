//! A signal may come at any instruction of a switch between stacks, and its handler may unwind, as
//! a profiler's does: the backtrace ends, and nothing is read that is no stack.

use crate::support::*;
use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use wasmtime_internal_fiber::{Fiber, FiberStack};

/// Goes on.
const NO_REASON: c_int = 0;

/// Ends it.
const END_OF_STACK: c_int = 5;

/// There are no stacks here with more frames.
const MOST: usize = 1_000;

static STEPS: AtomicUsize = AtomicUsize::new(0);
static FRAMES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn _Unwind_Backtrace(
        frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        frames: *mut c_void,
    ) -> c_int;
}

extern "C" fn count(_context: *mut c_void, frames: *mut c_void) -> c_int {
    // SAFETY: it is the counter below.
    let frames = unsafe { &mut *frames.cast::<usize>() };
    *frames += 1;
    match *frames < MOST {
        true => NO_REASON,
        false => END_OF_STACK,
    }
}

fn frames() -> usize {
    let mut frames = 0_usize;
    // SAFETY: it is called with a pointer to this counter, and unwinds nothing.
    unsafe { _Unwind_Backtrace(count, (&raw mut frames).cast()) };
    frames
}

extern "C" fn on_trap(_signal: c_int) {
    STEPS.fetch_add(1, Relaxed);
    let frames = frames();
    assert!(frames < MOST);
    FRAMES.fetch_max(frames, Relaxed);
}

/// Has a trap come before each instruction from here on, or no more.
#[inline(always)]
fn trap(each: bool) {
    // SAFETY: only the trap flag changes, and the stack is as before.
    unsafe {
        match each {
            true => asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq"),
            false => asm!("pushfq", "and qword ptr [rsp], 0xfffffffffffffeff", "popfq"),
        }
    }
}

#[test]
fn a_backtrace_from_any_instruction_of_a_switch_ends() {
    in_own_process(
        module_path!(),
        "a_backtrace_from_any_instruction_of_a_switch_ends",
        || {
            // What it allocates and locks, it does the first time.
            assert!(frames() < MOST);
            let handler: extern "C" fn(c_int) = on_trap;
            // SAFETY: it is a handler for signals.
            unsafe { libc::signal(libc::SIGTRAP, handler as *const () as usize) };
            let stack = FiberStack::new(1 << 20, false).unwrap();
            let fiber = Fiber::<(), u8, u8>::new(stack, |(), suspend| {
                suspend.suspend(1);
                suspend.suspend(2);
                3
            });
            let fiber = fiber.unwrap_or_else(|(error, _)| panic!("{error}"));
            trap(true);
            let results = [fiber.resume(()), fiber.resume(()), fiber.resume(())];
            trap(false);
            assert_eq!(results, [Err(1), Err(2), Ok(3)]);
            // Three times there and back.
            let steps = STEPS.load(Relaxed);
            assert!(steps > 6 * 20, "{steps}");
            // From the fiber's stack down to this one's end.
            assert!(FRAMES.load(Relaxed) > frames() + 2);
        },
    );
}
