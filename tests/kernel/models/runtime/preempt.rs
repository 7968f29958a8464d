//! The files under test, what stands in for others, and the models.

#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/contention.rs"]
mod contention;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/id.rs"]
mod id;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/remote.rs"]
mod remote;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/slice.rs"]
mod slice;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/thread_waker.rs"]
mod thread_waker;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/wait.rs"]
mod wait;

// Stand-ins: a clock that stands still, a process that does not fork, and loom's types.
mod clock;
mod fork;
mod source;
mod sync;

mod requests;
mod support;
mod timer;
mod waking;
