//! The decoder of frames, against each encoding that Cranelift's emitter has for what it knows.
//! `tests/runtime` has it against compiled modules.

#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/signal/x86_64/frame.rs"]
mod frame;

mod cpu;
mod encodings;
mod stub;
