//! However a slice's end and the run's own steps interleave, the slice ends, and not early.

use super::armed;
use super::guest::Guest;
use crate::runtime::preempt::clock::NEVER;
use crate::runtime::preempt::machine::{self, Event, step};
use std::cell::Cell;
use std::rc::Rc;

const END: u64 = 1_000_000;

/// Longer than until the next try to preempt a guest that could not be.
const RETRY: u64 = 200_000;

/// More steps than any test has.
const STEPS: u64 = 90;

/// Runs `test` with time passing to `END`, and to `END + RETRY`, at any two steps. Then a
/// further slice must end.
fn whenever_time_passes(test: impl Fn()) {
    for first in 0..STEPS {
        for second in first..STEPS {
            let times = [
                (first, Event::Time(END)),
                (second, Event::Time(END + RETRY)),
            ];
            machine::start(times.to_vec());
            armed::ensure_timer().unwrap();
            test();
            // Whatever is left of it.
            let next = Guest::new(machine::now() + RETRY);
            next.dispatch();
            must_be_preempted(&next);
            assert!(machine::steps() < STEPS, "{} steps", machine::steps());
        }
    }
}

/// `guest` runs on. Its slice must end in the end.
fn must_be_preempted(guest: &Guest) {
    // Each signal may find the guest where it cannot be preempted.
    for _ in 0..4 {
        guest.run(3);
        machine::set_now(machine::now().max(END) + RETRY);
    }
    guest.run(3);
    assert!(guest.is_preempted.get());
}

#[test]
fn a_slice_ends_whenever_its_time_comes() {
    whenever_time_passes(|| {
        let guest = Guest::new(END);
        guest.dispatch();
        guest.run(10);
        assert!(!guest.is_preempted.get() || machine::now() >= END);
        must_be_preempted(&guest);
    });
}

#[test]
fn a_slice_ends_though_the_timer_was_set_for_an_earlier_one() {
    whenever_time_passes(|| {
        let first = Guest::new(END / 2);
        first.dispatch();
        let guest = Guest::new(END);
        guest.dispatch();
        guest.run(4);
        machine::set_now(END / 2);
        guest.run(4);
        assert!(!guest.is_preempted.get() || machine::now() >= END);
        must_be_preempted(&guest);
    });
}

#[test]
fn a_slice_that_gets_an_end_in_a_host_function_ends() {
    whenever_time_passes(|| {
        let guest = Guest::new(NEVER);
        guest.dispatch();
        guest.run(2);
        guest.call_host(2, || guest.watch.bring_slice_end_to(END));
        guest.run(2);
        must_be_preempted(&guest);
    });
}

#[test]
fn a_slice_that_is_over_in_a_host_function_ends_there_or_later() {
    whenever_time_passes(|| {
        let guest = Guest::new(END);
        guest.dispatch();
        for _ in 0..3 {
            guest.call_host(2, || {});
            guest.run(1);
        }
        must_be_preempted(&guest);
    });
}

#[test]
fn a_run_inside_of_a_host_function_leaves_the_outer_slice_its_end() {
    whenever_time_passes(|| {
        let outer = Guest::new(END);
        outer.dispatch();
        outer.run(1);
        outer.call_host(1, || {
            let inner = Guest::new(END / 2);
            inner.dispatch();
            inner.run(2);
            outer.become_current();
            outer.watch.arm();
        });
        must_be_preempted(&outer);
    });
}

#[test]
fn tries_to_preempt_become_rarer() {
    let guest = Guest::new(END);
    let waits: Vec<u64> = (0..20).map(|_| guest.watch.next_retry()).collect();
    assert!(waits.is_sorted() && waits[0] < RETRY);
    assert!(waits[..6].iter().sum::<u64>() > 3_000_000);
    assert_eq!(waits[19], 10_000_000);
}

#[test]
fn a_slice_ends_whenever_another_os_thread_ends_it() {
    for end in [END, NEVER] {
        for when in 0..STEPS {
            machine::start(vec![(when, Event::SliceEndRequest)]);
            armed::ensure_timer().unwrap();
            let guest = Guest::new(end);
            guest.dispatch();
            let happened = machine::steps() > when;
            for later in 1..4 {
                guest.run(3);
                machine::set_now(later * RETRY);
            }
            assert!(machine::now() < END);
            assert!(
                guest.is_preempted.get() || !happened,
                "slice until {end}, ended at step {when}"
            );
        }
    }
}

#[test]
fn a_slice_ends_though_the_timer_was_set_for_a_later_one() {
    whenever_time_passes(|| {
        Guest::new(10 * END).dispatch();
        let guest = Guest::new(END);
        guest.dispatch();
        must_be_preempted(&guest);
    });
}

#[test]
fn a_later_end_takes_no_system_call() {
    machine::start(Vec::new());
    armed::ensure_timer().unwrap();
    for slice in 0..10 {
        let guest = Guest::new(END + slice);
        guest.dispatch();
        guest.run(2);
    }
    assert_eq!(machine::sets(), 1);
}

#[test]
fn a_new_timer_is_known_not_to_be_set() {
    machine::start(Vec::new());
    armed::ensure_timer().unwrap();
    armed::arm_by(1);
    // In a process that `fork` has made, say.
    machine::start(Vec::new());
    armed::ensure_timer().unwrap();
    let guest = Guest::new(END);
    guest.dispatch();
    must_be_preempted(&guest);
}

#[test]
fn a_timer_that_is_left_set_makes_a_slice_end_no_earlier() {
    whenever_time_passes(|| {
        let guest = Guest::new(NEVER);
        armed::arm_by(END / 2);
        guest.dispatch();
        guest.run(10);
        machine::set_now(END + 2 * RETRY);
        guest.run(12);
        assert!(!guest.is_preempted.get());
    });
}
