//! Epochs can be incremented from anywhere, and stray signals do nothing.

use super::support::*;
use crate::support::{in_own_process, must_end};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use wasmtime_preempt::wasmtime::{Engine, Trap, UpdateDeadline};

static ENGINE: OnceLock<Engine> = OnceLock::new();
static INCREMENTS: AtomicU64 = AtomicU64::new(0);

extern "C" fn increment(_: libc::c_int) {
    if let Some(engine) = ENGINE.get() {
        engine.increment_epoch();
        INCREMENTS.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_signal_handler_can_increment_the_epoch() {
    in_own_process(
        module_path!(),
        "a_signal_handler_can_increment_the_epoch",
        || {
            let engine = ENGINE.get_or_init(engine);
            // SAFETY: the handler only does what a handler may.
            unsafe {
                libc::signal(libc::SIGALRM, increment as *const () as usize);
                let interval = libc::timeval {
                    tv_sec: 0,
                    tv_usec: 500,
                };
                let timer = libc::itimerval {
                    it_interval: interval,
                    it_value: interval,
                };
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            }
            let (mut store, instance) = plain_guests(engine);
            let spin = instance
                .get_typed_func::<(), ()>(&mut store, "spin")
                .unwrap();
            for _ in 0..50 {
                store.set_epoch_deadline(2);
                let error = spin.call(&mut store, ()).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            }
            assert!(INCREMENTS.load(Relaxed) > 50);
        },
    );
}

fn receive_stray_signals(count: u64) {
    must_end(move || {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let sum = instance
            .get_typed_func::<i64, i64>(&mut store, "sum")
            .unwrap();
        store.set_epoch_deadline(u64::MAX / 2);
        let expected = sum.call(&mut store, 1_000_000).unwrap();
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        let _ticker = Ticker::new(&engine, micros(300));
        // SAFETY: no preconditions.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    // SAFETY: no pointers.
                    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
                    sent.fetch_add(1, Relaxed);
                }
            });
            while sent.load(Relaxed) < count {
                assert_eq!(sum.call(&mut store, 1_000_000).unwrap(), expected);
            }
            stop.store(true, Relaxed);
        });
    });
}

#[test]
fn stray_signals_change_no_result() {
    receive_stray_signals(20_000);
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn a_million_stray_signals_change_no_result() {
    receive_stray_signals(1_000_000);
}

#[test]
fn many_os_threads_are_interrupted_by_one_increment() {
    must_end(|| {
        let engine = engine();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let engine = engine.clone();
                std::thread::spawn(move || {
                    let (mut store, instance) = plain_guests(&engine);
                    let spin = instance
                        .get_typed_func::<(), ()>(&mut store, "spin")
                        .unwrap();
                    store.set_epoch_deadline(1);
                    spin.call(&mut store, ()).is_err()
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            engine.increment_epoch();
            std::thread::sleep(micros(500));
        }
        for thread in threads {
            assert!(thread.join().unwrap());
        }
    });
}

#[test]
fn a_single_increment_ends_a_call_that_is_about_to_begin() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        let (begin, begins) = std::sync::mpsc::channel();
        let incremented = engine.clone();
        let other = std::thread::spawn(move || {
            let mut wait = 0;
            while begins.recv().is_ok() {
                // At each moment of the entry, in turn.
                wait = (wait + 7) % 3_000;
                for _ in 0..wait {
                    std::hint::spin_loop();
                }
                incremented.increment_epoch();
            }
        });
        for _ in 0..3_000 {
            store.set_epoch_deadline(1);
            begin.send(()).unwrap();
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
        drop(begin);
        other.join().unwrap();
    });
}

#[test]
fn a_pending_stray_signal_hides_no_increment() {
    must_end(|| {
        let engine = engine();
        let (mut store, instance) = plain_guests(&engine);
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        // SAFETY: no preconditions.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        let (begin, begins) = std::sync::mpsc::channel();
        let incremented = engine.clone();
        let other = std::thread::spawn(move || {
            while begins.recv().is_ok() {
                std::thread::sleep(micros(100));
                // SAFETY: no pointers.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
                incremented.increment_epoch();
            }
        });
        for _ in 0..300 {
            store.set_epoch_deadline(1);
            begin.send(()).unwrap();
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
        }
        drop(begin);
        other.join().unwrap();
    });
}
