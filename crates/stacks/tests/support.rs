//! What the tests share.

use preempt_stacks::{Guards, StackSlab, StackSlabOptions};
use std::process::Command;
use wasmtime::{StackCreator, StackMemory};

pub const PAGE: usize = 4096;

/// Of this many bytes.
pub const SIZE: usize = 60 << 10;

/// The kinds of guards that this system has.
pub fn all_guards() -> Vec<Guards> {
    let best = StackSlab::new(SIZE).unwrap().guards();
    match best {
        Guards::Protection => vec![best],
        _ => vec![best, Guards::Protection],
    }
}

pub fn options() -> StackSlabOptions {
    StackSlabOptions::new(SIZE)
}

pub fn stack(slab: &StackSlab) -> Box<dyn StackMemory> {
    slab.new_stack(slab.stack_size(), false).unwrap()
}

/// The word at this offset from the top of a stack.
#[expect(
    clippy::mut_from_ref,
    reason = "what is in the stack is no part of what `stack` refers to"
)]
pub fn word(stack: &dyn StackMemory, below_top: usize) -> &mut u64 {
    assert!(below_top >= 8 && below_top <= stack.range().len());
    // SAFETY: it is in the stack, aligned, and the tests use one such word at a time.
    unsafe { &mut *stack.top().sub(below_top).cast() }
}

/// Whether each page of the stack is resident.
pub fn resident_pages(stack: &dyn StackMemory) -> usize {
    let range = stack.range();
    let mut pages = vec![0_u8; range.len() / PAGE];
    // SAFETY: there is a byte for each page.
    let done = unsafe { libc::mincore(range.start as *mut _, range.len(), pages.as_mut_ptr()) };
    assert_eq!(done, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

/// How many mappings this process has.
pub fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

/// Runs the test `name` in a process of its own, which has to end like this. Returns what that
/// prints as errors.
pub fn in_own_process(name: &str, succeeds: bool, test: impl FnOnce()) -> Option<String> {
    const ALONE: &str = "PREEMPT_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        test();
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), succeeds, "{output:?}");
    Some(stderr)
}
