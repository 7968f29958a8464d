//! What to do with a [`Trace`](wasmtime::preempt::Trace) of guest threads.
//!
//! | module | what it makes of a trace |
//! |---|---|
//! | [`check`] | a proof that the schedule kept its promises, or a list of every violation |
//! | [`stats`] | CPU and waiting time, latencies, fairness |
//! | [`turns`] | who was on the CPU when, and who spawned whom |
//! | [`timeline`] | an SVG picture of who ran when |
//! | [`perfetto`] | JSON for the Perfetto UI and `chrome://tracing` |
//! | [`text`] | lines of text to store, and to compare byte for byte |
//! | [`labels`] | names that fit their place |
//! | `events` | events of the `tracing` crate, with the feature of that name |
//!
//! Times are in *ticks* of the store's clock: nanoseconds, or units of fuel if slices
//! are fuel ([`Trace::fuel`](wasmtime::preempt::Trace::fuel)).
//!
//! A trace may come from a file, so nothing here panics on one, whatever it holds.
//! Sums saturate, an event's time counts as no earlier than that of the event before
//! it, and only [`check`] judges.
//!
//! ```
//! use preempt_trace::{check::{Checker, Order}, stats::Stats, text, timeline::Timeline};
//!
//! let trace = text::parse(
//!     "preempt-trace 1
//! clock ns
//! lost 0
//! events 10
//! name 1 \"reader\"
//! 0 1 spawned
//! 0 2 spawned
//! 5 0 run-started
//! 5 1 dispatched 100
//! 105 1 preempted
//! 106 2 dispatched 100
//! 150 2 returned
//! 150 1 dispatched 100
//! 180 1 returned
//! 180 0 run-ended
//! ",
//! )?;
//! let report = Checker::new().order(Order::RoundRobin).check(&trace);
//! assert!(report.is_ok(), "{report}");
//!
//! let stats = Stats::of(&trace);
//! assert_eq!(stats.threads[0].cpu, 130);
//! assert_eq!(stats.threads[1].longest_wait, 101);
//!
//! assert!(Timeline::new().svg(&trace).contains("reader"));
//! # Ok::<(), text::ParseError>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod check;
#[cfg(feature = "tracing")]
pub mod events;
pub mod labels;
mod names;
pub mod perfetto;
mod spans;
pub mod stats;
pub mod text;
mod ticks;
pub mod timeline;
pub mod turns;
