//! What the fuzz targets do with their input, apart from libFuzzer: see docs/fuzzing.md.
//!
//! A target is a function of bytes that panics if something does not hold. It has no state, so the
//! same bytes do the same each time, as far as slices of time allow.

#![forbid(unsafe_code)]

pub mod api;
mod bytes;
pub mod components;
pub mod differential;
pub mod modules;
mod polling;
mod seeds;
mod source;
pub mod text;
pub mod wasi_threads;

pub use seeds::{Seed, seeds};

/// A target.
pub type Target = fn(&[u8]);

/// The targets of this crate, by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("api", api::run),
    ("components", components::run),
    ("differential", differential::run),
    ("text", text::run),
    ("wasi_threads", wasi_threads::run),
];
