//! Deadlines in time of ordinary calls: `Store::set_time_deadline`.

mod bad_input;
mod callbacks;
mod components;
mod cpu_time;
mod ends;
mod epochs;
mod nested;
mod soak;
mod support;
mod yields;
