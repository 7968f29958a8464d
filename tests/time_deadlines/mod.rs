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
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod ways_into_wasm;
mod yields;
