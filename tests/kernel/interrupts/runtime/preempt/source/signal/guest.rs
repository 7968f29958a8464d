//! A guest thread with a slice, and the handler that ends it.

use super::armed;
use super::watch::Watch;
use crate::runtime::preempt::clock::NEVER;
use crate::runtime::preempt::machine::{self, Event, step};
use crate::runtime::preempt::source::attention::Attention;
use crate::runtime::preempt::sync::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;

/// Where the signal finds the guest thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the run, or on the way into or out of compiled code.
    Between,
    Host,
    Wasm,
}

pub struct Guest {
    pub watch: Watch,
    pub place: Cell<Place>,
    pub is_preempted: Cell<bool>,
    word: Box<AtomicI64>,
    slice_end_requested: Box<AtomicBool>,
}

impl Guest {
    /// A guest thread whose slice ends at `end`.
    pub fn new(end: u64) -> Rc<Guest> {
        let word = Box::new(AtomicI64::new(0));
        let slice_end_requested = Box::new(AtomicBool::new(false));
        // SAFETY: I19. The guest keeps the word.
        let attention = unsafe { Attention::new(NonNull::from(&*word)) };
        Rc::new(Guest {
            watch: Watch {
                slice_end: AtomicU64::new(end),
                attention: Some(attention),
                slice_end_requested: Some(NonNull::from(&*slice_end_requested)),
                ..Watch::none()
            },
            place: Cell::new(Place::Between),
            is_preempted: Cell::new(false),
            word,
            slice_end_requested,
        })
    }

    /// What `handler.rs` does with a signal of ours: the rest of it is system calls, and finding
    /// out where the guest is.
    fn handle(&self) {
        if machine::take_slice_end_request() {
            self.slice_end_requested.store(true, Ordering::Relaxed);
        }
        self.watch.take_slice_end_request();
        armed::fired();
        let preempt = || {
            let can = self.place.get() == Place::Wasm;
            if can {
                self.watch.slice_end.store(NEVER, Ordering::Relaxed);
                self.is_preempted.set(true);
            }
            can
        };
        let is_in_host = || self.place.get() == Place::Host;
        self.watch.on_signal(machine::now(), preempt, is_in_host);
    }

    /// Makes this the guest thread that the handler finds.
    pub fn become_current(self: &Rc<Guest>) {
        let guest = self.clone();
        machine::set_handler(Rc::new(move || guest.handle()));
    }

    /// The beginning of a dispatch, as `dispatching` in `suspend.rs` has it.
    pub fn dispatch(self: &Rc<Guest>) {
        self.become_current();
        self.watch.take_slice_end_request();
        self.watch.arm();
    }

    /// Runs Wasm for a number of instructions.
    pub fn run(&self, instructions: u64) {
        self.place.set(Place::Wasm);
        for _ in 0..instructions {
            if self.is_preempted.get() {
                break;
            }
            step();
        }
        self.place.set(Place::Between);
    }

    /// Calls a host function that takes as many instructions. Its end is that of `HostCall` and
    /// `safe_point`, which need a store.
    pub fn call_host(&self, instructions: u64, inside: impl FnOnce()) {
        let attention = self.watch.attention.unwrap();
        self.place.set(Place::Host);
        for _ in 0..instructions {
            step();
        }
        inside();
        self.place.set(Place::Between);
        if !attention.is_due(-1) {
            return;
        }
        attention.rest(0);
        if self.watch.slice_end() <= machine::now() {
            self.is_preempted.set(true);
        } else {
            self.watch.arm();
        }
    }
}
