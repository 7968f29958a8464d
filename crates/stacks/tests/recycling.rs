//! Free stacks are used again: the last one first.

use crate::support::*;
use wasmtime::StackCreator;

#[test]
fn the_stack_that_was_freed_last_is_used_first() {
    let slab = options().build().unwrap();
    let stacks: Vec<_> = (0..10).map(|_| stack(&slab)).collect();
    let tops: Vec<_> = stacks.iter().map(|stack| stack.top()).collect();
    stacks.into_iter().for_each(drop);
    let again: Vec<_> = (0..10).map(|_| stack(&slab)).collect();
    let again: Vec<_> = again.iter().map(|stack| stack.top()).collect();
    assert_eq!(again, tops.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn cold_stacks_are_used_before_new_ones() {
    let slab = options().warm_stacks(0).build().unwrap();
    let stacks: Vec<_> = (0..500).map(|_| stack(&slab)).collect();
    let highest = stacks.iter().map(|stack| stack.top()).max();
    drop(stacks);
    let again: Vec<_> = (0..500).map(|_| stack(&slab)).collect();
    assert_eq!(again.iter().map(|stack| stack.top()).max(), highest);
}

#[test]
fn a_stack_that_has_to_be_zeros_is_whoever_had_it() {
    for warm in [0, 100] {
        let slab = options().warm_stacks(warm).build().unwrap();
        for _ in 0..3 {
            let zeroed = || slab.new_stack(SIZE, true).unwrap();
            let stacks: Vec<_> = (0..10).map(|_| zeroed()).collect();
            for stack in &stacks {
                for below_top in [8, SIZE / 2, SIZE] {
                    assert_eq!(*word(&**stack, below_top), 0);
                    *word(&**stack, below_top) = u64::MAX;
                }
            }
        }
    }
}
