//! The decoder of frames, against what an assembler makes of each instruction that it knows.
//! `tests/signal/single_step.rs` has it against compiled modules.

#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/signal/aarch64/frame.rs"]
mod frame;

mod cpu;
mod encodings;
mod stub;
