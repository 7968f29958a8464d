//! Kernels and sandboxes without `membarrier`: no deadline is missed.

use super::support::*;
use crate::support::{in_own_process, must_end};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use wasmtime_preempt::wasmtime::{Trap, UpdateDeadline};

/// Has the kernel refuse `membarrier` to this OS thread and to those that it starts.
fn refuse_membarrier() {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        // The number of the system call.
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_membarrier as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `program` is there during the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
        assert_eq!(libc::syscall(libc::SYS_membarrier, 0, 0, 0), -1);
    }
}

/// One increment for each call, somewhere between before its entry and long after it.
fn interrupt_once_each(calls: u64) {
    let engine = engine();
    let (mut store, instance) = plain_guests(&engine);
    let spin = instance
        .get_typed_func::<(), ()>(&mut store, "spin")
        .unwrap();
    let (about_to_call, next) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for delay in next {
                for _ in 0..delay {
                    std::hint::spin_loop();
                }
                engine.increment_epoch();
            }
        });
        for n in 0..calls {
            store.set_epoch_deadline(1);
            about_to_call.send(n * 7 % 1_000).unwrap();
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
        drop(about_to_call);
    });
}

#[test]
fn no_deadline_is_missed() {
    must_end(|| interrupt_once_each(2_000));
}

#[test]
fn no_deadline_is_missed_without_membarrier() {
    in_own_process(
        module_path!(),
        "no_deadline_is_missed_without_membarrier",
        || {
            must_end(|| {
                refuse_membarrier();
                interrupt_once_each(2_000);
            });
        },
    );
}

#[test]
fn os_threads_in_the_host_are_not_harmed_without_membarrier() {
    in_own_process(
        module_path!(),
        "os_threads_in_the_host_are_not_harmed_without_membarrier",
        || {
            must_end(|| {
                refuse_membarrier();
                let engine = engine();
                let stop = AtomicBool::new(false);
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            let sum = |n| (0..1_000).fold(n, |sum: i32, n| sum.wrapping_add(n * n));
                            let (mut store, instance) = guests(&engine, (), move |_, n| sum(n));
                            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
                            let call = instance
                                .get_typed_func::<i32, i32>(&mut store, "call")
                                .unwrap();
                            while !stop.load(Relaxed) {
                                assert_eq!(call.call(&mut store, 3).unwrap(), sum(3));
                            }
                        });
                    }
                    for _ in 0..2_000 {
                        engine.increment_epoch();
                        thread::sleep(micros(50));
                    }
                    stop.store(true, Relaxed);
                });
            });
        },
    );
}
