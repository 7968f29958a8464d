#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/attention.rs"]
pub(super) mod attention;
pub(super) mod signal;
