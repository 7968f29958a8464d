//! The error at a limit names the limit, and what would help. Nothing is lost by it.

use crate::support::*;
use preempt_stacks::{Guards, StackSlab, StackSlabOptions};
use wasmtime::{Config, StackCreator, StackMemory};

fn error(slab: &StackSlab) -> String {
    match slab.new_stack(slab.stack_size(), false) {
        Ok(_) => panic!("there is another stack"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |options: StackSlabOptions| options.build().unwrap_err().to_string();
    assert!(refused(StackSlabOptions::new(0)).contains("StackSlab::new(124 << 10)"));
    assert!(refused(StackSlabOptions::new(usize::MAX)).contains("at most"));
    assert!(refused(StackSlabOptions::new(isize::MAX as usize)).contains("at most"));
    assert!(refused(options().max_stacks(0)).contains("at least 1"));
}

#[test]
fn larger_stacks_than_the_slab_has_are_refused() {
    let slab = options().build().unwrap();
    assert!(slab.new_stack(1, false).is_ok());
    let error = match slab.new_stack(SIZE + 1, false) {
        Ok(_) => panic!("there is one"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("StackSlab::configure") && error.contains("61441"));
    let mut config = Config::new();
    slab.configure(&mut config);
    assert!(wasmtime::Engine::new(&config).is_ok());
}

#[test]
fn no_more_stacks_are_made_than_there_may_be() {
    let slab = options().max_stacks(100).build().unwrap();
    for _ in 0..2 {
        let mut stacks: Vec<_> = (0..100).map(|_| stack(&slab)).collect();
        let error = error(&slab);
        assert!(
            error.contains("max_stacks") && error.contains("100"),
            "{error}"
        );
        stacks.pop();
        stacks.push(stack(&slab));
    }
    assert_eq!(slab.usage().in_use, 0);
}

/// Stacks until there are no more.
fn all_of(slab: &StackSlab) -> (Vec<Box<dyn StackMemory>>, String) {
    let mut stacks = Vec::new();
    loop {
        match slab.new_stack(slab.stack_size(), false) {
            Ok(stack) => stacks.push(stack),
            Err(error) => return (stacks, format!("{error:#}")),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_limit_of_mappings_is_named() {
    in_own_process("limits::the_limit_of_mappings_is_named", true, || {
        let options = options().guards(Guards::Protection);
        let slab = options.build().unwrap();
        let (stacks, error) = all_of(&slab);
        // The process has no mapping left: give some back before anything else.
        drop(stacks);
        slab.trim();
        assert!(error.contains("vm.max_map_count"), "{error}");
        assert!(error.contains("Linux 6.13"), "{error}");
        assert_eq!(slab.usage().in_use, 0);
        drop(stack(&slab));
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_limit_of_address_space_is_named() {
    in_own_process("limits::the_limit_of_address_space_is_named", true, || {
        let slab = options().build().unwrap();
        let limit = libc::rlimit {
            rlim_cur: 4 << 30,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: `limit` is only read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let (stacks, error) = all_of(&slab);
        // All that there is is used: 4 GiB are 65,536 stacks of 64 KiB.
        assert!(stacks.len() > 30_000, "{}", stacks.len());
        assert!(
            error.contains("RLIMIT_AS") && error.contains("ulimit -v"),
            "{error}"
        );
        for stack in stacks.iter().step_by(100) {
            *word(&**stack, 8) = 1;
        }
        drop(stacks);
        assert_eq!(slab.usage().in_use, 0);
        drop(stack(&slab));
    });
}
