//! A stack is what Wasmtime asks for: aligned, accessible, guarded, and nobody else's.

use crate::support::*;
use preempt_stacks::{Guards, StackSlab};
use std::thread;
use wasmtime::StackMemory;

#[test]
fn a_stack_has_the_size_that_was_asked_for_and_a_guard_below() {
    for guards in all_guards() {
        let slab = options().guards(guards).build().unwrap();
        assert_eq!(slab.guards(), guards);
        for _ in 0..100 {
            let stack = stack(&slab);
            let (range, guard) = (stack.range(), stack.guard_range());
            assert_eq!(range.len(), SIZE);
            assert_eq!(range.start % PAGE, 0);
            assert_eq!(stack.top() as usize, range.end);
            assert_eq!(guard.end as usize, range.start);
            assert_eq!(guard.end as usize - guard.start as usize, PAGE);
            *word(&*stack, 8) = 1;
            *word(&*stack, SIZE) = 1;
        }
    }
}

#[test]
fn sizes_are_rounded_up_to_pages() {
    for (size, rounded) in [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE)] {
        let slab = StackSlab::new(size).unwrap();
        assert_eq!(slab.stack_size(), rounded);
        assert_eq!(stack(&slab).range().len(), rounded);
    }
}

#[test]
fn stacks_do_not_overlap_and_keep_what_is_on_them() {
    for guards in all_guards() {
        // More than one region, and more than are guarded at once.
        let slab = options().guards(guards).build().unwrap();
        let stacks: Vec<_> = (0..3_000).map(|_| stack(&slab)).collect();
        for (i, stack) in (0..).zip(&stacks) {
            *word(&**stack, 8) = i;
            *word(&**stack, SIZE) = !i;
        }
        let mut ranges: Vec<_> = stacks
            .iter()
            .map(|stack| (stack.guard_range().start as usize, stack.range().end))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for (i, stack) in (0..).zip(&stacks) {
            assert_eq!((*word(&**stack, 8), *word(&**stack, SIZE)), (i, !i));
        }
    }
}

/// Touches the guard of the last of some stacks, of which some were used before.
fn touches_a_guard(guards: Guards) {
    let slab = options().guards(guards).warm_stacks(1).build().unwrap();
    let stacks: Vec<_> = (0..200).map(|_| stack(&slab)).collect();
    drop(stacks);
    slab.trim();
    let stacks: Vec<_> = (0..150).map(|_| stack(&slab)).collect();
    let guard = stacks[140].guard_range();
    // SAFETY: none. The process ends here.
    unsafe { guard.end.sub(8).cast::<u64>().write_volatile(1) };
}

fn ends_by_sigsegv(name: &str, guards: Guards) {
    if all_guards().contains(&guards) {
        in_own_process(name, false, || touches_a_guard(guards));
    }
}

#[test]
fn a_marked_guard_faults() {
    ends_by_sigsegv("stacks::a_marked_guard_faults", Guards::Markers);
}

#[test]
fn a_protected_guard_faults() {
    ends_by_sigsegv("stacks::a_protected_guard_faults", Guards::Protection);
}

#[test]
fn a_slab_is_used_by_many_os_threads() {
    let slab = options().warm_stacks(8).build().unwrap();
    thread::scope(|scope| {
        for seed in 0..4_u64 {
            let slab = &slab;
            scope.spawn(move || {
                let mut held: Vec<(u64, Box<dyn StackMemory>)> = Vec::new();
                let mut random = seed;
                for turn in 0..5_000 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let at = (random >> 33) as usize;
                    if at % 100 < 52 && held.len() < 300 {
                        let mark = seed << 32 | turn;
                        let stack = stack(slab);
                        *word(&*stack, 64) = mark;
                        held.push((mark, stack));
                    } else if !held.is_empty() {
                        let (mark, stack) = held.swap_remove(at % held.len());
                        assert_eq!(*word(&*stack, 64), mark);
                    }
                }
            });
        }
    });
    assert_eq!(slab.usage().in_use, 0);
    assert!(slab.usage().warm <= 8);
}

#[test]
fn stacks_outlive_their_slab() {
    let slab = options().build().unwrap();
    let held = stack(&slab);
    let mapped = slab.clone();
    drop(slab);
    *word(&*held, 8) = 7;
    thread::spawn(move || assert_eq!(*word(&*held, 8), 7))
        .join()
        .unwrap();
    assert_eq!(mapped.usage().in_use, 0);
}
