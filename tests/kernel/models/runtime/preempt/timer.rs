//! The epoch timer: its OS thread, a run that moves its slot, and those that end its slice.

use super::clock::{self, Moment};
use super::remote::{Remote, Request};
use super::slice::Preemption;
use super::source::Word;
use super::source::epoch_timer::{EpochTimer, Slot};
use super::source::interrupt::Interrupt;
use super::support::{check, id, on_another};
use std::sync::Arc;

/// A time that has come.
fn due() -> u64 {
    Moment::now().as_nanos() - 1
}

/// A time that does not come, unless time passes.
fn later() -> u64 {
    Moment::now().as_nanos() + 1_000
}

struct Fixture {
    timer: Option<EpochTimer>,
    slot: Arc<Slot>,
    word: Word,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // While a model fails, loom cannot join the timer's OS thread.
        if std::thread::panicking() {
            std::mem::forget(self.timer.take());
        }
    }
}

fn fixture() -> Fixture {
    clock::start(false);
    let timer = EpochTimer::new(0);
    let word = Word::new();
    let slot = timer.register(word.attention(), true).unwrap();
    Fixture {
        timer: Some(timer),
        slot,
        word,
    }
}

impl Fixture {
    fn timer(&self) -> &EpochTimer {
        self.timer.as_ref().unwrap()
    }

    /// Ends the timer's OS thread, and with it all that it does.
    fn stop_timer(&mut self) {
        drop(self.timer.take());
    }

    fn wait_until_fired(&self) {
        while !self.slot.has_fired() {
            loom::thread::yield_now();
        }
    }

    /// What a run sets for compiled code.
    fn deadline(&self) -> u64 {
        self.timer().deadline(None, Some(|| self.slot.has_fired()))
    }
}

#[test]
fn a_slot_that_is_due_fires_however_soundly_the_timer_sleeps() {
    check(|| {
        let fixture = fixture();
        fixture.timer().arm(&fixture.slot, later()).unwrap();
        fixture.timer().arm(&fixture.slot, due()).unwrap();
        fixture.wait_until_fired();
    });
}

#[test]
fn a_slot_that_is_armed_while_the_timer_looks_fires_in_time() {
    check(|| {
        let fixture = fixture();
        clock::start(true);
        fixture.timer().arm(&fixture.slot, due()).unwrap();
        fixture.wait_until_fired();
        // The timer has not announced how long it sleeps now.
        fixture.timer().arm(&fixture.slot, later()).unwrap();
        fixture.wait_until_fired();
    });
}

#[test]
fn a_slot_that_was_put_off_in_time_does_not_fire() {
    check(|| {
        let mut fixture = fixture();
        fixture.timer().arm(&fixture.slot, due()).unwrap();
        fixture.timer().arm(&fixture.slot, later()).unwrap();
        fixture.stop_timer();
        assert!(!fixture.slot.has_fired());
    });
}

#[test]
fn a_tick_is_seen_in_the_slot_or_reaches_the_deadline() {
    check(|| {
        let fixture = fixture();
        fixture.timer().arm(&fixture.slot, due()).unwrap();
        let deadline = fixture.deadline();
        // The epoch comes last.
        while fixture.timer().epoch() == 0 {
            loom::thread::yield_now();
        }
        assert!(fixture.slot.has_fired() && fixture.word.is_raised());
        assert!(fixture.timer().epoch() >= deadline);
    });
}

#[test]
fn the_end_of_a_slice_is_seen_in_the_slot_or_reaches_the_deadline() {
    check(|| {
        let fixture = fixture();
        let ender = fixture.timer().slice_ender(&fixture.slot);
        let other = loom::thread::spawn(move || ender.end_now());
        let deadline = fixture.deadline();
        other.join().unwrap();
        assert!(fixture.slot.has_fired());
        assert!(fixture.timer().epoch() >= deadline);
    });
}

#[test]
fn the_embedders_part_of_the_epoch_is_never_wrong() {
    check(|| {
        let fixture = fixture();
        let ender = fixture.timer().slice_ender(&fixture.slot);
        let other = loom::thread::spawn(move || ender.end_now());
        let (epoch, ticks) = fixture.timer().epoch_and_ticks();
        assert_eq!(epoch - ticks, 0);
        other.join().unwrap();
    });
}

#[test]
fn arming_a_slot_loses_no_request() {
    check(|| {
        let fixture = fixture();
        let remote = Arc::new(Remote::default());
        let ender = fixture.timer().slice_ender(&fixture.slot);
        remote.set_interrupt(Interrupt::Epoch(ender));
        let asker = on_another(&remote, |remote| remote.ask(id(9), Request::Kill));
        remote.start(id(1), false, Preemption::Epoch);
        fixture
            .timer()
            .arm_unless_ended(&fixture.slot, later(), || remote.slice_end_requested())
            .unwrap();
        let deadline = fixture.deadline();
        asker.join().unwrap();
        assert!(fixture.slot.has_fired());
        assert!(fixture.timer().epoch() >= deadline);
        remote.set_interrupt(Interrupt::None);
    });
}

#[test]
fn a_check_that_rests_the_attention_misses_no_end_of_a_slice() {
    check(|| {
        let fixture = fixture();
        let ender = fixture.timer().slice_ender(&fixture.slot);
        let other = loom::thread::spawn(move || ender.end_now());
        // What the end of a host call does that has a reason to look.
        fixture.word.rest();
        let seen = fixture.slot.has_fired();
        other.join().unwrap();
        assert!(seen || fixture.word.is_raised());
    });
}
