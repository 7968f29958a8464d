pub mod preempt;

/// What `limits.rs` needs of it.
pub mod vm {
    pub trait VMStore {}
}
