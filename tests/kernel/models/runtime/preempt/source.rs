//! The files under test of the preemption sources.

#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/attention.rs"]
pub(super) mod attention;
#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/epoch_timer.rs"]
pub(super) mod epoch_timer;
#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/interrupt.rs"]
pub(super) mod interrupt;

pub(super) mod signal;
#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/slots.rs"]
mod slots;
mod word;

pub(super) use word::Word;
