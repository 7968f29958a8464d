//! `Preemption::Signal` and the engine: what it refuses, modules that come later,
//! fuel, backtraces, and the OS threads' timers.

mod backtraces;
mod config;
mod constants;
mod memories;
mod metering;
mod modules_at_runtime;
mod tables;
mod tail_calls;
mod timers;
