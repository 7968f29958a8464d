//! Memory goes back to the system when it is not used.
#![cfg(target_os = "linux")]

use crate::support::*;
use preempt_stacks::Guards;

#[test]
fn a_stack_is_resident_as_far_as_it_was_touched() {
    for guards in all_guards() {
        let slab = options().guards(guards).build().unwrap();
        let stack = stack(&slab);
        assert_eq!(resident_pages(&*stack), 0);
        *word(&*stack, 8) = 1;
        assert_eq!(resident_pages(&*stack), 1);
        *word(&*stack, SIZE) = 1;
        assert_eq!(resident_pages(&*stack), 2);
    }
}

#[test]
fn only_warm_stacks_keep_their_memory() {
    for guards in all_guards() {
        let slab = options().guards(guards).warm_stacks(10).build().unwrap();
        let stacks: Vec<_> = (0..300).map(|_| stack(&slab)).collect();
        for stack in &stacks {
            *word(&**stack, 8) = 1;
        }
        drop(stacks);
        assert!(slab.usage().warm <= 10, "{:?}", slab.usage());
        let stacks: Vec<_> = (0..300).map(|_| stack(&slab)).collect();
        let resident = stacks.iter().map(|stack| resident_pages(&**stack));
        assert!(resident.sum::<usize>() <= 10);
    }
}

#[test]
fn trimming_leaves_nothing_warm_and_nothing_mapped() {
    let slab = options().build().unwrap();
    let stacks: Vec<_> = (0..200).map(|_| stack(&slab)).collect();
    let kept = stack(&slab);
    drop(stacks);
    assert_eq!(slab.usage().warm, 200);
    slab.trim();
    assert_eq!(slab.usage().warm, 0);
    assert!(slab.usage().mapped > 0);
    *word(&*kept, 8) = 1;
    drop(kept);
    slab.trim();
    assert_eq!((slab.usage().in_use, slab.usage().mapped), (0, 0));
    *word(&*stack(&slab), 8) = 1;
}

#[test]
fn all_but_one_of_the_empty_regions_are_unmapped() {
    let slab = options().build().unwrap();
    let stacks: Vec<_> = (0..10_000).map(|_| stack(&slab)).collect();
    let most = slab.usage().mapped;
    drop(stacks);
    slab.trim();
    assert_eq!(slab.usage().mapped, 0);
    let stacks: Vec<_> = (0..10_000).map(|_| stack(&slab)).collect();
    assert_eq!(slab.usage().mapped, most);
    drop(stacks);
}

#[test]
fn thousands_of_stacks_take_few_mappings() {
    in_own_process(
        "memory::thousands_of_stacks_take_few_mappings",
        true,
        || {
            let slab = options().build().unwrap();
            if slab.guards() != Guards::Markers {
                return;
            }
            let before = mappings();
            let stacks: Vec<_> = (0..100_000).map(|_| stack(&slab)).collect();
            for stack in stacks.iter().step_by(1_000) {
                *word(&**stack, 8) = 1;
            }
            let after = mappings();
            assert!(after < before + 50, "{before} to {after}");
        },
    );
}
