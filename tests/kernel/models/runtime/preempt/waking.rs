//! Wakers, against threads that park and runs that sleep.

use super::remote::{Remote, Request};
use super::support::{check, id, on_another};
use super::sync::{AtomicBool, Ordering};
use super::thread_waker::ThreadWaker;
use super::wait::Loan;
use std::sync::Arc;
use std::task::Waker;

/// Sleeps as a run does whose threads are all parked, until `done` says that it has seen all.
fn sleep_until(remote: &Remote, mut done: impl FnMut() -> bool) {
    let waiter = Loan::new();
    while !done() {
        if remote.sleep(waiter.waker()) {
            waiter.wait(None);
        }
    }
    remote.sleep_no_more();
}

#[test]
fn a_sleeping_run_is_woken_by_a_wake_and_by_a_request() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let others = [
            on_another(&remote, |remote| remote.wake(id(1))),
            on_another(&remote, |remote| remote.ask(id(2), Request::Kill)),
        ];
        let (mut woken, mut asked) = (false, false);
        sleep_until(&remote, || {
            woken |= remote.has_woken() && remote.take_woken() == [id(1)];
            asked |= remote.has_requests() && remote.next_request().is_some();
            woken && asked
        });
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_run_that_keeps_a_thread_is_woken_by_the_request_to_end_it() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let killer = on_another(&remote, |remote| remote.ask(id(1), Request::Kill));
        let waiter = Loan::new();
        while !remote.take_kill_of(id(1)) {
            if remote.sleep_unless_killed(id(1), waiter.waker()) {
                waiter.wait(None);
            }
        }
        killer.join().unwrap();
    });
}

#[test]
fn what_came_before_a_wake_is_visible_to_the_os_thread_that_waited_for_it() {
    check(|| {
        let waiter = Loan::new();
        let ready = Arc::new(AtomicBool::new(false));
        let (waker, its_ready) = (waiter.waker().clone(), ready.clone());
        let other = loom::thread::spawn(move || {
            its_ready.store(true, Ordering::Relaxed);
            waker.wake();
        });
        waiter.wait(None);
        assert!(ready.load(Ordering::Relaxed));
        other.join().unwrap();
    });
}

#[test]
fn a_thread_that_is_about_to_park_misses_no_wake() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let waker = ThreadWaker::new(id(1), remote.clone());
        let ready = Arc::new(AtomicBool::new(false));
        let (its_waker, its_ready) = (Waker::from(waker.clone()), ready.clone());
        let other = loom::thread::spawn(move || {
            its_ready.store(true, Ordering::Relaxed);
            its_waker.wake_by_ref();
        });
        loop {
            waker.reset();
            if ready.load(Ordering::Relaxed) {
                break;
            }
            // Parked, unless it was woken meanwhile: then it only yields.
            if !waker.is_woken() {
                sleep_until(&remote, || {
                    remote.has_woken() && remote.take_woken().contains(&id(1))
                });
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn a_thread_that_was_woken_twice_sees_what_came_before_each() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let waker = ThreadWaker::new(id(1), remote.clone());
        let ready = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let others = ready.clone().map(|ready| {
            let waker = Waker::from(waker.clone());
            loom::thread::spawn(move || {
                ready.store(true, Ordering::Relaxed);
                waker.wake_by_ref();
            })
        });
        loop {
            waker.reset();
            if ready.iter().all(|ready| ready.load(Ordering::Relaxed)) {
                break;
            }
            if !waker.is_woken() {
                sleep_until(&remote, || {
                    remote.has_woken() && remote.take_woken().contains(&id(1))
                });
            }
        }
        for other in others {
            other.join().unwrap();
        }
    });
}
