//! The tests of the crate, one file for each behaviour.

mod support;

mod any_trace;
mod broken_schedules;
mod events;
mod fairness;
mod large_traces;
mod lost_events;
mod orders;
mod perfetto;
mod statistics;
mod text;
mod timeline;
mod turns;
mod valid_schedules;
