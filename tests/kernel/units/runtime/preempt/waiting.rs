//! `wait.rs`: what is not a matter of two OS threads.

use super::clock::Moment;
use super::wait::{Loan, wake};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

#[test]
fn a_wake_before_the_wait_ends_it_and_a_reset_forgets_it() {
    let waiter = Loan::new();
    waiter.waker().wake_by_ref();
    waiter.wait(None);
    waiter.waker().wake_by_ref();
    waiter.reset();
    let end = Moment::now().saturating_add(Duration::from_millis(1));
    waiter.wait(Some(end));
    assert!(Moment::now() >= end);
}

#[test]
fn a_wait_until_the_past_is_over() {
    Loan::new().wait(Some(Moment::now()));
}

#[test]
fn a_waiter_is_lent_to_one_run_at_a_time() {
    let outer = Loan::new();
    let waker = outer.waker().clone();
    {
        let inner = Loan::new();
        assert!(!inner.waker().will_wake(&waker));
    }
    drop(outer);
    assert!(Loan::new().waker().will_wake(&waker));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of a test's");
    }
}

#[test]
fn a_waker_that_panics_does_not_keep_others_from_being_woken() {
    wake(Waker::from(Arc::new(Panics)));
}
