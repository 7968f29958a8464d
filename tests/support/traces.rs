//! Traces, and what must be so in each.

use super::LATE;
use preempt_trace::check::Checker;
use wasmtime::preempt::Trace;
use wasmtime::*;

/// Room for all events of a test's run.
pub const EVENTS: usize = 1 << 18;

/// Fuel from one check to the next in these guests, at most.
pub const BETWEEN_CHECKS: u64 = 100;

pub fn checker(preemption: Preemption) -> Checker {
    Checker::new().tolerance(match preemption {
        Preemption::Fuel => BETWEEN_CHECKS,
        _ => LATE,
    })
}

pub fn take_trace<T: 'static>(store: &mut Store<T>) -> Trace {
    store.wasm_threads().take_trace().unwrap()
}
