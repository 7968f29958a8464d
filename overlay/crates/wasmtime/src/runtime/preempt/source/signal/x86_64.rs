//! The x86-64 parts.

pub(super) mod frame;
mod stub;
