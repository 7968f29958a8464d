//! `Preemption::Signal`: what must hold wherever the signal comes.

#[cfg(debug_assertions)]
pub mod stepping;
pub mod support;

mod kill;
#[cfg(debug_assertions)]
mod moved_storage;
mod references;
mod registers;
#[cfg(debug_assertions)]
pub mod single_step;
mod soak;
