//! What is of this architecture.

pub(super) mod frame;
mod stub;
