#[path = "../../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/signal/armed.rs"]
mod armed;
#[path = "../../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/signal/watch.rs"]
mod watch;

// Stands in for the system calls.
mod os_timer;

mod guest;
mod slices;

/// Stands in for the list of modules.
mod code {
    pub struct Code;
}
