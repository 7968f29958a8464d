//! A forked process interrupts its own guests.

use super::support::*;
use crate::support::in_own_process;
use wasmtime_preempt::wasmtime::{Instance, Store, Trap};

/// Whether a guest that spins is ended in this process.
fn spinner_is_ended((store, instance): &mut (Store<()>, Instance)) -> bool {
    let spin = instance
        .get_typed_func::<(), ()>(&mut *store, "spin")
        .unwrap();
    store.set_epoch_deadline(1);
    let _ticker = Ticker::new(store.engine(), micros(500));
    let error = spin.call(store, ()).unwrap_err();
    error.downcast_ref() == Some(&Trap::Interrupt)
}

#[test]
fn a_child_interrupts_its_guests() {
    in_own_process(module_path!(), "a_child_interrupts_its_guests", || {
        let mut guests = plain_guests(&engine());
        assert!(spinner_is_ended(&mut guests));
        // SAFETY: no other OS thread runs, and the child calls nothing that was locked.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let ended = spinner_is_ended(&mut guests);
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(!ended)) };
        }
        let mut status = 0;
        // SAFETY: the pointer is to a local.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    });
}
