//! The files under test, and what stands in for others.

mod clock;
mod machine;
mod source;
mod sync;
