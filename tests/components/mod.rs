//! Components: as guest threads, and beside guest threads.

mod guests;

mod beside_core_threads;
mod calls;
mod ends;
mod entering;
mod handles_left;
mod instances;
mod interleaving;
mod lowering;
mod nested;
mod strings;
mod waits;
