//! A CPU with a timer and a signal handler.

use std::cell::Cell;
use std::rc::Rc;

/// What happens at a step.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It is this late.
    Time(u64),
    /// Another OS thread ends the slice, and sends the signal.
    SliceEndRequest,
}

type Action = Rc<dyn Fn()>;

#[derive(Default)]
struct Machine {
    now: Cell<u64>,
    /// When the timer sends the signal.
    timer: Cell<Option<u64>>,
    steps: Cell<u64>,
    events: Cell<Vec<(u64, Event)>>,
    is_pending: Cell<bool>,
    slice_end_requested: Cell<bool>,
    /// How many times the timer was set.
    sets: Cell<u64>,
    handler: Cell<Option<Action>>,
    is_new: Cell<bool>,
}

std::thread_local! {
    static MACHINE: Machine = Machine::default();
}

/// Starts a machine on which `events` happen, each at the step that it comes with.
pub fn start(events: Vec<(u64, Event)>) {
    MACHINE.with(|machine| {
        // Nothing begins as long ago as a slice that another OS thread has ended.
        machine.now.set(1_000);
        machine.timer.set(None);
        machine.steps.set(0);
        machine.events.set(events);
        machine.is_pending.set(false);
        machine.slice_end_requested.set(false);
        machine.sets.set(0);
        machine.handler.set(None);
        machine.is_new.set(true);
    });
}

pub fn set_handler(handler: Action) {
    MACHINE.with(|machine| machine.handler.set(Some(handler)));
}

pub fn is_new() -> bool {
    MACHINE.with(|machine| machine.is_new.replace(false))
}

pub fn now() -> u64 {
    MACHINE.with(|machine| machine.now.get())
}

pub fn set_now(now: u64) {
    MACHINE.with(|machine| machine.now.set(now.max(machine.now.get())));
}

pub fn set_timer(time: u64) {
    let time = Some(time).filter(|time| *time != u64::MAX);
    MACHINE.with(|machine| {
        machine.timer.set(time);
        machine.sets.set(machine.sets.get() + 1);
    });
}

/// How many times the timer was set.
pub fn sets() -> u64 {
    MACHINE.with(|machine| machine.sets.get())
}

/// Whether another OS thread has ended the slice since.
pub fn take_slice_end_request() -> bool {
    MACHINE.with(|machine| machine.slice_end_requested.take())
}

pub fn steps() -> u64 {
    MACHINE.with(|machine| machine.steps.get())
}

/// The moment before an instruction: the signal may come.
pub fn step() {
    MACHINE.with(|machine| {
        // The signal is blocked in its handler, which has taken itself.
        let Some(handler) = machine.handler.take() else {
            return;
        };
        let this = machine.steps.get();
        machine.steps.set(this + 1);
        let events = machine.events.take();
        for (when, event) in &events {
            match event {
                _ if *when != this => {}
                Event::Time(now) => set_now(*now),
                Event::SliceEndRequest => {
                    machine.slice_end_requested.set(true);
                    machine.is_pending.set(true);
                }
            }
        }
        machine.events.set(events);
        if machine.timer.get().is_some_and(|time| time <= now()) {
            machine.timer.set(None);
            machine.is_pending.set(true);
        }
        if machine.is_pending.take() {
            handler();
        }
        machine.handler.set(Some(handler));
    });
}
