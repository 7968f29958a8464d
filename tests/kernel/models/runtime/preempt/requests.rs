//! Requests of other OS threads, against the beginning and the end of dispatches and runs.

use super::remote::{Remote, RemoteThread, Request};
use super::slice::Preemption;
use super::source::Word;
use super::source::interrupt::Interrupt;
use super::source::signal::os_timer;
use super::source::signal::os_timer::Target;
use super::support::{check, id, on_another};
use super::sync::Ordering;
use std::sync::Arc;

#[test]
fn a_request_is_seen_before_a_dispatch_or_ends_its_slice() {
    check(|| {
        let remote = Arc::new(Remote::default());
        remote.start(id(1), false, Preemption::Epoch);
        let asker = on_another(&remote, |remote| remote.ask(id(9), Request::Kill));
        remote.stop();
        let seen = remote.has_requests() && remote.next_request().is_some();
        remote.start(id(2), false, Preemption::Epoch);
        asker.join().unwrap();
        assert!(seen || remote.slice_end_requested());
    });
}

#[test]
fn a_thread_on_the_cpu_is_preempted_by_its_handle() {
    check(|| {
        let remote = Arc::new(Remote::default());
        remote.start(id(1), false, Preemption::Epoch);
        let ender = on_another(&remote, Remote::end_slice);
        let killer = on_another(&remote, |remote| remote.ask(id(1), Request::Kill));
        ender.join().unwrap();
        assert!(remote.slice_end_requested());
        killer.join().unwrap();
        assert!(remote.take_kill_of(id(1)));
        assert!(!remote.has_requests());
    });
}

#[test]
fn requests_are_neither_lost_nor_doubled() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let askers = [2, 3].map(|whom| {
            on_another(&remote, move |remote| {
                remote.ask(id(whom), Request::Kill);
            })
        });
        let mut seen = Vec::new();
        let mut look = || {
            while remote.has_requests() {
                seen.extend(remote.next_request().map(|(id, _)| id.as_u64()));
            }
        };
        look();
        for asker in askers {
            asker.join().unwrap();
        }
        look();
        seen.sort_unstable();
        assert_eq!(seen, [2, 3]);
    });
}

#[test]
fn wakes_are_neither_lost_nor_doubled() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let wakers = [2, 3].map(|whom| on_another(&remote, move |remote| remote.wake(id(whom))));
        let mut seen = Vec::new();
        let mut look = || {
            if remote.has_woken() {
                seen.extend(remote.take_woken().iter().map(|id| id.as_u64()));
            }
        };
        look();
        for waker in wakers {
            waker.join().unwrap();
        }
        look();
        seen.sort_unstable();
        assert_eq!(seen, [2, 3]);
    });
}

#[test]
fn a_request_pauses_a_thread_whose_slices_are_fuel() {
    check(|| {
        let word = Word::new();
        let remote = Arc::new(Remote::default());
        remote.set_interrupt(Interrupt::Fuel(word.attention()));
        let asker = on_another(&remote, |remote| remote.ask(id(9), Request::Kill));
        // What the end of a host call does that has a reason to look.
        word.rest();
        let seen = remote.has_requests();
        asker.join().unwrap();
        assert!(seen || word.is_raised());
    });
}

#[test]
fn an_interrupt_finds_that_the_slice_is_over() {
    check(|| {
        let sent = os_timer::expect_signals();
        let remote = Arc::new(Remote::default());
        remote.set_interrupt(Interrupt::Signal(Arc::new(Target)));
        let handle = RemoteThread::new(id(1), remote.clone());
        let other = loom::thread::spawn(move || handle.preempt_now());
        remote.start(id(1), false, Preemption::Signal);
        other.join().unwrap();
        assert!(!sent.load(Ordering::Relaxed) || remote.slice_end_requested());
    });
}

#[test]
fn no_os_thread_is_interrupted_after_the_end_of_its_run() {
    check(|| {
        let sent = os_timer::expect_signals();
        let remote = Arc::new(Remote::default());
        remote.set_interrupt(Interrupt::Signal(Arc::new(Target)));
        remote.start(id(1), false, Preemption::Signal);
        let ender = on_another(&remote, Remote::end_slice);
        remote.stop();
        remote.set_interrupt(Interrupt::None);
        let sent_in_time = sent.load(Ordering::Relaxed);
        ender.join().unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), sent_in_time);
    });
}

#[test]
fn a_wake_is_seen_before_a_dispatch_or_ends_the_slice_of_a_lone_thread() {
    check(|| {
        let remote = Arc::new(Remote::default());
        let waker = on_another(&remote, |remote| remote.wake(id(2)));
        let seen = remote.has_woken() && !remote.take_woken().is_empty();
        remote.start(id(1), !seen, Preemption::Epoch);
        waker.join().unwrap();
        assert!(seen || remote.slice_end_requested());
    });
}

#[test]
fn a_lone_thread_that_wakes_others_misses_no_wake_from_outside() {
    check(|| {
        let remote = Arc::new(Remote::default());
        remote.start(id(1), true, Preemption::Epoch);
        let waker = on_another(&remote, |remote| remote.wake(id(2)));
        // `start_waking_guest_threads` and `finish_waking_guest_threads`, with nobody woken.
        remote.set_alone(false);
        let mut seen = remote.has_woken() && !remote.take_woken().is_empty();
        if !seen {
            remote.set_alone(true);
            seen = remote.has_woken() && !remote.take_woken().is_empty();
        }
        waker.join().unwrap();
        assert!(seen || remote.slice_end_requested());
    });
}
