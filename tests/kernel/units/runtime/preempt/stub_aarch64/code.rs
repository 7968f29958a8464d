//! The file under test, which looks for `preempted` two modules up.

#[path = "../../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/signal/aarch64/stub.rs"]
pub mod stub;
