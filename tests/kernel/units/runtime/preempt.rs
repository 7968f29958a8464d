//! The files under test.

#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/budget.rs"]
mod budget;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/clock.rs"]
mod clock;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/threads/grant.rs"]
mod grant;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/id.rs"]
mod id;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/limits.rs"]
mod limits;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/rate.rs"]
mod rate;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/slice.rs"]
mod slice;
mod source;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/threads/state.rs"]
mod state;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/sync.rs"]
mod sync;
#[path = "../../../../overlay/crates/wasmtime/src/runtime/preempt/wait.rs"]
mod wait;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod frames;
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
mod frames_aarch64;
mod limiting;
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
mod stub_aarch64;
mod waiting;
