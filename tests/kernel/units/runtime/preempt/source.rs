#[path = "../../../../../overlay/crates/wasmtime/src/runtime/preempt/source/jitter.rs"]
mod jitter;

/// What `slice.rs` needs of it.
pub mod signal {
    pub mod host {
        pub fn works_here() -> bool {
            true
        }
    }
}
