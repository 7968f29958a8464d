//! The x86-64 parts.

pub(in crate::runtime::preempt) mod frame;
mod stub;
